"""AdaptThink: thinking or not, against a frozen reference that thinks."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def adaptthink(
  rewards: jax.Array, unthinking: jax.Array, ref_rewards: jax.Array, *, delta: float = 0.05
) -> jax.Array:
  """Reward less the reference's mean on the prompt, and `delta` for answering without thinking.

  Args:
    rewards: any shape.
    unthinking: the same shape, above 0 on responses that do not think.
    ref_rewards: the same shape, mean reward of the frozen reference on the prompt.
    delta: what not thinking is worth.
  Returns:
    The same shape; not centred.

  Source: arXiv 2505.13417, from one secondary account of it.

  >>> adaptthink(jnp.array([1.0, 1.0]), jnp.array([1.0, 0.0]), jnp.array([0.5, 0.5]))
  Array([0.55, 0.5 ], dtype=float32)
  """
  chex.assert_equal_shape([rewards, unthinking, ref_rewards])
  rewards = stats.as_float(rewards)
  bonus = jnp.where(unthinking > 0, jnp.full_like(rewards, delta), 0)
  return rewards - ref_rewards + bonus
