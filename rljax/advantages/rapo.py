"""RAPO: what a batch loses to groups without spread, the other groups make up for."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def rapo_scale(
  advantages: jax.Array, rewards: jax.Array, where: jax.Array | None = None
) -> jax.Array:
  """Advantages times the number of groups over the number of those whose rewards are not equal.

  Args:
    advantages: `[..., G]`, such as those of `grpo` with ddof 0.
    rewards: `[..., G]`; the last axis is the group, all others together are the batch.
    where: `[..., G]`, 1 on real members; a group without any is none.
  Returns:
    `[..., G]`; 0 in groups of equal rewards.

  Source: arXiv 2509.24107, equation 6, whose G is read as the number of groups of the batch.

  >>> rapo_scale(jnp.array([[1.0, -1.0], [0.0, 0.0]]), jnp.array([[1.0, 0.0], [1.0, 1.0]]))
  Array([[ 2., -2.],
         [ 0.,  0.]], dtype=float32)
  """
  chex.assert_shape(rewards, (..., None, None))
  chex.assert_equal_shape([advantages, rewards])
  advantages, real = stats.as_float(advantages), stats.is_real(rewards, where)
  informative = ~stats.is_constant(rewards, real)  # [..., 1]
  groups = jnp.sum(jnp.any(real, axis=-1)).astype(advantages.dtype)
  scale = groups / jnp.maximum(jnp.sum(informative), 1).astype(advantages.dtype)
  return jnp.where(real & informative, advantages * scale, 0)
