"""Rewards to rewards, and what truncation does to them."""

from rljax.shaping.alphaalign import alphaalign as alphaalign
from rljax.shaping.box import gui_g1_box as gui_g1_box
from rljax.shaping.chi2 import chi2_penalty as chi2_penalty
from rljax.shaping.exploration import repexp_bonus as repexp_bonus
from rljax.shaping.exploration import repexp_select as repexp_select
from rljax.shaping.exploration import sparse_projection as sparse_projection
from rljax.shaping.multirole import multirole as multirole
from rljax.shaping.next_segment import rlpt as rlpt
from rljax.shaping.overlong import soft_overlong as soft_overlong
from rljax.shaping.red_team import RedTeamRewards as RedTeamRewards
from rljax.shaping.red_team import redteam as redteam
from rljax.shaping.red_team import redteam_format as redteam_format
from rljax.shaping.return_decomposition import (
  return_decomposition_loss as return_decomposition_loss,
)
from rljax.shaping.search import format_and_answer as format_and_answer
from rljax.shaping.search import steerable_search as steerable_search
from rljax.shaping.thinking import rlsp as rlsp
from rljax.shaping.thinking import rlsp_judged as rlsp_judged
from rljax.shaping.trace_back import trace_back as trace_back
from rljax.shaping.trace_back import verirl_pairs as verirl_pairs
from rljax.shaping.truncation import mask_truncated as mask_truncated
from rljax.shaping.truncation import zero_truncated as zero_truncated
from rljax.shaping.unlikeliness import unlikeliness as unlikeliness
