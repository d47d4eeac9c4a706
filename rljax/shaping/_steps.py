"""Shared by the rewards of steps: which steps are real, and what comes after each."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import stats


def real_steps(x: jax.Array, where: jax.Array | None) -> tuple[jax.Array, jax.Array, jax.Array]:
  """`x [..., S]` as floats with 0 where no step is, which steps are real, and how many remain.

  The last is `[..., S]`, the number of real steps from each place on: 1 on the last one.
  """
  real = stats.is_real(x, where)
  left = jnp.flip(jnp.cumsum(jnp.flip(real, -1), axis=-1), -1)
  return jnp.where(real, stats.as_float(x), 0), real, left


def next_step(x: jax.Array, real: jax.Array) -> jax.Array:
  """`x` of the real step after each, `[..., S]`; 0 where there is none. `x` is 0 where not real."""
  size = x.shape[-1]
  place = jnp.where(real, jax.lax.broadcasted_iota(jnp.int32, x.shape, x.ndim - 1), size)
  here_or_later = jnp.flip(jax.lax.cummin(jnp.flip(place, -1), axis=x.ndim - 1), -1)
  later = jnp.concatenate([here_or_later[..., 1:], jnp.full_like(place[..., :1], size)], axis=-1)
  found = jnp.take_along_axis(x, jnp.minimum(later, size - 1), axis=-1)
  return jnp.where(later < size, found, 0)
