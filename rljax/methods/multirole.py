"""MultiRole-R1."""

from __future__ import annotations

from rljax import shaping
from rljax.methods.combinators import with_rewards
from rljax.methods.grpo import grpo
from rljax.methods.reading import correct, extra
from rljax.types import Method


def multirole(*, delta: float = 0.9, clip_low: float = 0.2, clip_high: float = 0.2) -> Method:
  """GRPO on right answers and, with a small weight, the diversity of the text.

  Reads `batch.extras['diversity']`, `[*N]` in [0, 1]: the mean of eight signals of the text
  (`rljax.verifiers.diversity_columns`).

  Args:
    delta: weight of the right answer.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.

  Source: arXiv 2507.20187, whose weight of 0.1 is read as `1 - delta`; the definitions of the
  signals are a reconstruction.
  """

  def rewards(batch):
    diversity = extra(batch, 'diversity', 'how diverse the text of each completion is')
    return shaping.multirole(correct(batch), diversity, delta=delta)

  method = with_rewards(rewards, grpo(clip_low=clip_low, clip_high=clip_high))
  return method._replace(needs=('diversity',))
