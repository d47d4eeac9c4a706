"""Groups from which something can be learnt by comparison."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def mixed(rewards: jax.Array, where: jax.Array | None = None) -> jax.Array:
  """1 on members of groups whose rewards are not all equal, and on groups of one; else 0.

  Give it correctness, not shaped rewards: a length term makes every group look mixed. Drawing other
  prompts in place of those that are dropped is the loop's part.

  Args:
    rewards: `[..., G]`; the last axis is the group.
    where: `[..., G]`, 1 on real members; None means all.
  Returns:
    `[..., G]` floats, 0 where not real.

  Source: dynamic sampling of arXiv 2503.14476.

  >>> mixed(jnp.array([[1.0, 0.0], [1.0, 1.0]]))
  Array([[1., 1.],
         [0., 0.]], dtype=float32)
  """
  chex.assert_shape(rewards, (..., None, None))
  rewards, real = stats.as_float(rewards), stats.is_real(rewards, where)
  alone = jnp.sum(real, axis=-1, keepdims=True) == 1
  return (real & (alone | ~stats.is_constant(rewards, real))).astype(rewards.dtype)
