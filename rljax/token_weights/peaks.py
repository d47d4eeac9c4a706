"""Where in its own sequence a number is large."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def peaks(x: jax.Array, mask: jax.Array, *, level: float = 0.8) -> jax.Array:
  """1 where `x` is strictly above its sequence's quantile, else 0; `[..., T]`, a constant.

  Args:
    x: `[..., T]`.
    mask: `[..., T]`; masked tokens are neither in the quantile nor a peak.
    level: of the quantile, which is interpolated linearly between the two values around it.
  Returns:
    All 0 for a sequence of one token, or of equal ones.

  Source: the peak mask of arXiv 2509.25133; follows mask_by_quantile of the authors' dp_actor.py,
  which compares padding too.

  >>> peaks(jnp.array([[3.0, 1.0, 2.0]]), jnp.ones((1, 3)))
  Array([[1., 0., 0.]], dtype=float32)
  """
  chex.assert_equal_shape([x, mask])
  real = stats.is_real(x, mask)
  x = jax.lax.stop_gradient(jnp.where(real, stats.as_float(x), jnp.inf))
  ordered = jnp.sort(x, axis=-1)
  last = jnp.maximum(jnp.sum(real, axis=-1, keepdims=True) - 1, 0)
  place = stats.snap(level * last.astype(x.dtype))
  below = jnp.floor(place).astype(jnp.int32)
  low = jnp.take_along_axis(ordered, below, axis=-1)
  high = jnp.take_along_axis(ordered, jnp.minimum(below + 1, last), axis=-1)
  gap = jnp.where(high > low, high - low, 0)  # inf - inf where a sequence is empty
  quantile = low + (place - below) * gap
  return (real & (x > quantile)).astype(x.dtype)
