"""ThinkPrune."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp

from rljax import shaping
from rljax.methods.grpo import grpo
from rljax.methods.reading import correct
from rljax.types import Method


def thinkprune(
  *,
  max_length: int,
  shares: Sequence[float] = (1.0, 0.75),
  steps: int = 180,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  eps: float = 1e-6,
) -> Method:
  """GRPO on right answers within a limit of length that falls from round to round.

  The state counts the batches. The authors' prompts state the limit as well.

  Args:
    max_length: the run's longest completion, in tokens; 4000 in the authors' scripts.
    shares: of `max_length`, in whole tokens the limit of each round; none above the one before.
    steps: batches of a round.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.
    eps: added to the group's deviation.
  Raises:
    ValueError: while tracing, for shares that grow, or rounds without a step.

  Source: arXiv 2504.01296 and the authors' README, where generation itself ends at the limit. They
  add a KL loss of 0.001 (`kl_to_reference`).
  """
  limits = [round(share * max_length) for share in shares]
  inner = grpo(clip_low=clip_low, clip_high=clip_high, eps=eps)

  def prepare(step, batch):
    limit = shaping.limit_of_step(step, limits=limits, steps=steps)
    rewards = shaping.within_limit(correct(batch), batch.lengths, limit=limit)
    _, batch = inner.prepare((), batch.replace(rewards=rewards))
    return step + 1, batch

  return inner._replace(init=lambda: jnp.zeros((), jnp.int32), prepare=prepare)
