"""Completions that stopped at the length limit: without reward, or without loss.

`truncated` is `[*N]`, above 0 where generation stopped without an end token.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def zero_truncated(rewards: jax.Array, truncated: jax.Array) -> jax.Array:
  """Rewards `[*N]`, 0 where truncated: hard truncation as the only length penalty.

  Source: DLER, arXiv 2510.15110; its released code multiplies by 0.1 instead.
  """
  chex.assert_equal_shape([rewards, truncated])
  return jnp.where(truncated > 0, jnp.zeros_like(rewards), rewards)


def scale_truncated(rewards: jax.Array, truncated: jax.Array, *, factor: float = 0.1) -> jax.Array:
  """Rewards `[*N]`, times `factor` where truncated.

  Source: the released code of arXiv 2510.15110 (DLER), dapo.py's stop_properly_penalty; the paper's
  is `zero_truncated`.

  >>> scale_truncated(jnp.array([1.0, 1.0]), jnp.array([0.0, 1.0]), factor=0.25)
  Array([1.  , 0.25], dtype=float32)
  """
  chex.assert_equal_shape([rewards, truncated])
  rewards = stats.as_float(rewards)
  return jnp.where(truncated > 0, factor * rewards, rewards)


def mask_truncated(mask: jax.Array, truncated: jax.Array) -> jax.Array:
  """Mask `[*N, T]`, 0 on truncated completions, whose rewards still enter their group.

  Source: overlong filtering of arXiv 2503.14476; TRL's mask_truncated_completions.
  """
  chex.assert_rank(truncated, mask.ndim - 1)
  chex.assert_equal_shape_prefix([mask, truncated], mask.ndim - 1)
  return jnp.where(truncated[..., None] > 0, jnp.zeros_like(mask), mask)
