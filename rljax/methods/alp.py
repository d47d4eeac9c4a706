"""ALP, the adaptive length penalty."""

from __future__ import annotations

from functools import partial

from rljax import shaping
from rljax.groups import per_group
from rljax.methods.combinators import with_rewards
from rljax.methods.grpo import grpo
from rljax.methods.reading import correct
from rljax.types import Method


def alp(
  *,
  beta: float = 1e-7,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  eps: float = 1e-6,
) -> Method:
  """GRPO on correctness less a price of every token that grows with the prompt's solve rate.

  Args:
    beta: price of a token where all answers are right; the paper's answers have up to 16384.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.
    eps: added to the group's deviation. Where all are right or all wrong, only lengths differ, and
      the deviation is of the size of `beta` times theirs.

  Source: arXiv 2506.05256; see `shaping.alp`.
  """
  shaped = partial(shaping.alp, beta=beta)

  def rewards(batch):
    return per_group(shaped, batch)(correct(batch), batch.lengths)

  return with_rewards(rewards, grpo(clip_low=clip_low, clip_high=clip_high, eps=eps))
