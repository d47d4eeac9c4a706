"""ShorterBetter."""

from __future__ import annotations

from functools import partial

from rljax import shaping
from rljax.groups import per_group
from rljax.methods.combinators import with_rewards
from rljax.methods.grpo import grpo
from rljax.methods.reading import correct
from rljax.types import Method


def shorter_better(
  *,
  alpha: float = 2.0,
  beta: float = 0.001,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  eps: float = 1e-6,
) -> Method:
  """GRPO on correctness less the distance to the length of the group's shortest right answer.

  Args:
    alpha: reward of a right answer.
    beta: cost of a token too many or too few; the authors' answers have up to 6000.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.
    eps: added to the group's deviation.

  Source: arXiv 2504.21370; follows the authors' naive.py.
  """
  shaped = partial(shaping.shorter_better, alpha=alpha, beta=beta)

  def rewards(batch):
    return per_group(shaped, batch)(correct(batch), batch.lengths)

  return with_rewards(rewards, grpo(clip_low=clip_low, clip_high=clip_high, eps=eps))
