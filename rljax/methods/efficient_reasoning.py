"""Efficient reasoning by relative length."""

from __future__ import annotations

from functools import partial

from rljax import shaping
from rljax.groups import per_group
from rljax.methods.combinators import with_rewards
from rljax.methods.reading import correct, truncated
from rljax.methods.reinforce import rloo
from rljax.types import Method


def efficient_reasoning(*, alpha: float = 0.1) -> Method:
  """RLOO on correctness less a part of it for answers longer than the group's other right ones.

  Advantages are not divided by a deviation, so a small `alpha` stays small where all are right.
  Truncated answers are wrong.

  Args:
    alpha: what an answer without end would lose.
  Raises:
    ValueError: while tracing, if `batch.truncated` is None.

  Source: arXiv 2502.04463; follows the authors' math_server.py.
  """
  shaped = partial(shaping.relative_length, alpha=alpha)

  def rewards(batch):
    right = shaping.zero_truncated(correct(batch), truncated(batch))
    return per_group(shaped, batch)(right, batch.lengths)

  return with_rewards(rewards, rloo())
