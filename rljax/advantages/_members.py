"""Shared by the group functions: who is in a group, and its mean."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def members(x: jax.Array, where: jax.Array | None) -> tuple[jax.Array, jax.Array]:
  """`x [..., G]` as floats, 0 where nobody is, and who is real."""
  chex.assert_shape(x, (..., None, None))
  real = stats.is_real(x, where)
  return jnp.where(real, stats.as_float(x), 0), real


def group_mean(x: jax.Array, real: jax.Array) -> jax.Array:
  """Mean of the real entries, `[..., 1]`; where they are all equal exactly that value.

  The sum of three times 0.1 over 3 is not 0.1 in float32, and what is left of a difference may then
  be divided by a small number.
  """
  constant = stats.is_constant(x, real) & jnp.any(real, axis=-1, keepdims=True)
  low = jnp.min(x, axis=-1, keepdims=True, initial=jnp.inf, where=real)
  mean = stats.mean(x, real, axis=-1, keepdims=True)
  return jnp.where(constant, jnp.where(constant, low, 0), mean)
