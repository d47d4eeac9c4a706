"""Advantages of groups in which some completions were given the beginning of a solution."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import stats
from rljax.advantages.group import grpo


def adhint(
  rewards: jax.Array,
  hinted: jax.Array,
  where: jax.Array | None = None,
  *,
  eps: float = 1e-6,
  ddof: int = 1,
) -> jax.Array:
  """`grpo` over the whole group, weighed by how much easier the hints made the task.

  Right answers without a hint and wrong ones with a hint are multiplied by
  `exp(difficulty without - difficulty with)`, where difficulty is 1 less the mean reward.

  Args:
    rewards: `[..., G]`.
    hinted: `[..., G]`, 1 on completions of a hint.
    where: `[..., G]`, 1 on real members.
    eps: added to the deviation.
    ddof: 1 for the unbiased deviation.
  Returns:
    `[..., G]`; `grpo` where all or none are hinted.

  Source: arXiv 2512.13095; a reconstruction: only the direction of the weights is known, their form
  is ours.
  """
  estimate = grpo(rewards, where, eps=eps, ddof=ddof)
  rewards, real = stats.as_float(rewards), stats.is_real(rewards, where)
  given, free = real & (hinted > 0), real & ~(hinted > 0)
  easier = stats.mean(rewards, given, -1, keepdims=True) - stats.mean(
    rewards, free, -1, keepdims=True
  )
  compared = jnp.any(given, -1, keepdims=True) & jnp.any(free, -1, keepdims=True)
  telling = (free & (estimate > 0)) | (given & (estimate < 0))
  return estimate * jnp.where(compared & telling, jnp.exp(easier), 1)
