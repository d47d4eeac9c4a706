"""Prompts that have nothing more to teach."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def rapo_prune(
  rewards: jax.Array, where: jax.Array | None = None, *, threshold: float = 0.9
) -> jax.Array:
  """0 on members of groups to drop from later epochs: a share of `threshold` or more has succeeded.

  Args:
    rewards: `[..., G]`; above 0 is a success. Give it correctness: a reward for the format alone
      would count as success, as it does in the paper.
    where: `[..., G]`, 1 on real members.
    threshold: share of successes from which a prompt is dropped.
  Returns:
    `[..., G]` floats, the same on all members of a group, 0 where not real.

  Source: arXiv 2509.24107, equation 5.

  >>> rapo_prune(jnp.array([[1.0, 1.0], [1.0, 0.0]]))
  Array([[0., 0.],
         [1., 1.]], dtype=float32)
  """
  chex.assert_shape(rewards, (..., None, None))
  rewards, real = stats.as_float(rewards), stats.is_real(rewards, where)
  size = jnp.sum(real, axis=-1, keepdims=True).astype(rewards.dtype)
  successes = jnp.sum(real & (rewards > 0), axis=-1, keepdims=True).astype(rewards.dtype)
  return (real & (successes < stats.snap(threshold * size))).astype(rewards.dtype)
