"""RMSNorm (arXiv 1910.07467)."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def rms_norm(x: jax.Array, weight: jax.Array, eps: float, offset: float = 0.0) -> jax.Array:
  """`x / rms(x) * (weight + offset)` over the last axis, in float32 inside.

  Args:
    x: `[..., D]`.
    weight: `[D]`.
    eps: added to the mean square.
    offset: 1 where weights are stored as their distance from 1.
  """
  wide = x.astype(jnp.float32)
  wide = wide * jax.lax.rsqrt(jnp.mean(wide**2, axis=-1, keepdims=True) + eps)
  weight = weight.astype(jnp.float32)
  weight = weight + offset if offset else weight
  return (wide * weight.reshape((1,) * (x.ndim - 1) + weight.shape)).astype(x.dtype)
