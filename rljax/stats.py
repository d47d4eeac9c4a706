"""Masked mean, variance and deviation, and the whitening that the advantages share.

`where` has the shape of `x`; entries above 0 are real, all others are never read, whatever they
hold. An empty selection gives 0. Results are float32, or float64 if `x` is.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

Axis = int | tuple[int, ...] | None


def mean(
  x: jax.Array, where: jax.Array | None = None, axis: Axis = None, keepdims: bool = False
) -> jax.Array:
  """Mean of the real entries over `axis` (None: over all); 0 where there are none.

  >>> mean(jnp.array([[1.0, 3.0, jnp.nan]]), where=jnp.array([[1.0, 1.0, 0.0]]), axis=-1)
  Array([2.], dtype=float32)
  """
  x, real = as_float(x), is_real(x, where)
  n = jnp.sum(real, axis=axis, keepdims=keepdims)
  total = jnp.sum(jnp.where(real, x, 0), axis=axis, keepdims=keepdims)
  return total / jnp.maximum(n, 1).astype(x.dtype)


def variance(
  x: jax.Array,
  where: jax.Array | None = None,
  axis: Axis = None,
  keepdims: bool = False,
  ddof: int = 0,
) -> jax.Array:
  """Squared deviations of the real entries over their count less `ddof`; 0 up to `ddof` entries.

  Equal entries that have no exact mean (three times 0.1) may leave a remainder; see `is_constant`.
  """
  x, real = as_float(x), is_real(x, where)
  x = jnp.where(real, x, 0)  # before the subtraction: inf - m would reach the gradient
  centred = jnp.where(real, x - mean(x, real, axis, keepdims=True), 0)
  n = jnp.sum(real, axis=axis, keepdims=keepdims)
  total = jnp.sum(centred**2, axis=axis, keepdims=keepdims)
  return jnp.where(n > ddof, total / jnp.maximum(n - ddof, 1).astype(x.dtype), 0)


def std(
  x: jax.Array,
  where: jax.Array | None = None,
  axis: Axis = None,
  keepdims: bool = False,
  ddof: int = 0,
) -> jax.Array:
  """Square root of `variance`; at 0 its gradient is 0 too."""
  v = variance(x, where, axis, keepdims, ddof)
  return jnp.where(v > 0, jnp.sqrt(jnp.where(v > 0, v, 1)), 0)


def is_constant(
  x: jax.Array, where: jax.Array | None = None, axis: Axis = -1, keepdims: bool = True
) -> jax.Array:
  """True where the largest real entry equals the smallest; also for one entry, and for none.

  Compares the entries themselves, so rounding in a mean cannot make equal rewards look different.
  """
  x, real = as_float(x), is_real(x, where)
  high = jnp.max(x, axis=axis, keepdims=keepdims, initial=-jnp.inf, where=real)
  low = jnp.min(x, axis=axis, keepdims=keepdims, initial=jnp.inf, where=real)
  return high <= low


def whiten(x: jax.Array, where: jax.Array) -> jax.Array:
  """`x` with mean 0 and variance 1 over all real entries of the array; 0 at the others.

  The variance is unbiased and 1e-8 is added to it inside the root. With token entries a sequence
  counts as often as it has tokens. One entry gives 0, equal entries give exactly 0.

  Source: verl's verl_F.masked_whiten, which raises for one entry.
  """
  x, real = as_float(x), is_real(x, where)
  x = jnp.where(real, x, 0)
  scale = jax.lax.rsqrt(variance(x, real, ddof=1) + 1e-8)
  spread = ~is_constant(x, real, axis=None, keepdims=False)
  return jnp.where(real & spread, (x - mean(x, real)) * scale, 0)


def explained_variance(
  targets: jax.Array, predictions: jax.Array, where: jax.Array | None = None
) -> jax.Array:
  """Share of the targets' variance that the predictions account for, `[]`.

  1 for predictions that are right but for a constant, 0 for constant ones, less for worse; targets
  without variance give 0.

  >>> explained_variance(jnp.array([1.0, 2.0, 3.0]), jnp.array([1.5, 2.0, 2.5]))
  Array(0.75, dtype=float32)
  """
  targets, predictions = as_float(targets), as_float(predictions)
  total, left = variance(targets, where), variance(targets - predictions, where)
  varies = ~is_constant(targets, where, axis=None, keepdims=False) & (total > 0)
  return jnp.where(varies, 1 - left / jnp.where(varies, total, 1), 0)


def snap(x: jax.Array) -> jax.Array:
  """`x`, or the integer that it equals up to rounding: before a floor or a ceiling of a product.

  >>> thirty = jnp.float32(0.3) * 100  # 30.000002
  >>> jnp.ceil(thirty), jnp.ceil(snap(thirty))
  (Array(31., dtype=float32), Array(30., dtype=float32))
  """
  x = as_float(x)
  nearest = jnp.round(x)
  return jnp.where(jnp.abs(x - nearest) <= 4 * jnp.finfo(x.dtype).eps * jnp.abs(x), nearest, x)


def rank(x: jax.Array, where: jax.Array | None = None) -> jax.Array:
  """Place of each entry in the order of the last axis, int32 `[..., N]`: 0 for the largest.

  Args:
    x: `[..., N]`; of equal entries the first comes first.
    where: `[..., N]`, 1 on entries that count, before all others; None means all.

  >>> rank(jnp.array([3.0, 7.0, 5.0, 7.0]), jnp.array([1, 1, 0, 1]))
  Array([2, 0, 3, 1], dtype=int32)
  """
  last = jnp.where(is_real(x, where), -as_float(x), jnp.inf)
  order = jnp.argsort(last, axis=-1, stable=True)
  return jnp.argsort(order, axis=-1, stable=True).astype(jnp.int32)


def as_float(x: jax.Array) -> jax.Array:
  """`x` in float32, or in its own type where that is wider."""
  x = jnp.asarray(x)
  return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def is_real(x: jax.Array, where: jax.Array | None) -> jax.Array:
  """`where > 0` as booleans of the shape of `x`; all True for None."""
  if where is None:
    return jnp.ones_like(x, dtype=bool)
  chex.assert_equal_shape([x, where])
  return jnp.asarray(where) > 0
