"""The policy gradient under a clipped weight."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.surrogates.reinforce import reinforce


def cispo(
  logp: jax.Array,
  ratio: jax.Array,
  advantages: jax.Array,
  *,
  low: float | jax.Array = 0.0,
  high: float | jax.Array = 5.0,
) -> jax.Array:
  """`-clip(ratio, low, high) advantages logp`: no token loses its gradient to the clip.

  Only `logp` is differentiated; the gradient is `-clip(ratio, low, high) advantages`. The value is
  no estimate of the objective and cannot be compared with that of `clipped`.

  Args:
    logp: `[..., T]`.
    ratio: `[..., T]` or `[..., 1]`; a constant.
    advantages: `[..., T]` or `[..., 1]`; a constant.
    low: least weight, of the ratio itself and not a distance from 1; 0 is no bound.
    high: largest weight, likewise.

  Source: arXiv 2506.13585, which gives no bounds; `high` is that of arXiv 2510.13786. verl's bounds
  are distances from 1 on both sides, TRL's and ms-swift's is the upper one alone, as it is.

  >>> weighted = cispo(jnp.full((1, 3), -2.0), jnp.array([[0.5, 1.0, 9.0]]), jnp.array([[1.0]]))
  >>> weighted
  Array([[ 1.,  2., 10.]], dtype=float32)
  """
  weights = jax.lax.stop_gradient(jnp.clip(ratio, low, high))
  return reinforce(logp, weights * advantages)
