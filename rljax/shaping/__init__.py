"""Rewards to rewards, and what truncation does to them."""

from rljax.shaping.brevity import alp as alp
from rljax.shaping.brevity import kimi_length as kimi_length
from rljax.shaping.brevity import relative_length as relative_length
from rljax.shaping.brevity import shorter_better as shorter_better
from rljax.shaping.chi2 import chi2_penalty as chi2_penalty
from rljax.shaping.limits import da_dler_limits as da_dler_limits
from rljax.shaping.limits import limit_of_step as limit_of_step
from rljax.shaping.limits import within_limit as within_limit
from rljax.shaping.next_segment import rlpt as rlpt
from rljax.shaping.overlong import soft_overlong as soft_overlong
from rljax.shaping.targets import lcpo_exact as lcpo_exact
from rljax.shaping.targets import lcpo_max as lcpo_max
from rljax.shaping.thinking import rlsp as rlsp
from rljax.shaping.thinking import rlsp_judged as rlsp_judged
from rljax.shaping.truncation import mask_truncated as mask_truncated
from rljax.shaping.truncation import scale_truncated as scale_truncated
from rljax.shaping.truncation import zero_truncated as zero_truncated
from rljax.shaping.unlikeliness import unlikeliness as unlikeliness
