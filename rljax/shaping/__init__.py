"""Rewards to rewards, and what truncation does to them."""

from rljax.shaping.chi2 import chi2_penalty as chi2_penalty
from rljax.shaping.next_segment import rlpt as rlpt
from rljax.shaping.overlong import soft_overlong as soft_overlong
from rljax.shaping.thinking import rlsp as rlsp
from rljax.shaping.thinking import rlsp_judged as rlsp_judged
from rljax.shaping.truncation import mask_truncated as mask_truncated
from rljax.shaping.truncation import zero_truncated as zero_truncated
from rljax.shaping.unlikeliness import unlikeliness as unlikeliness
