"""The most contrasting completions of a batch."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import stats


def max_variance(
  values: jax.Array, where: jax.Array | None = None, *, size: int | jax.Array
) -> jax.Array:
  """1 on the `size` members whose values have the largest variance, else 0; a constant.

  Such a subset is always the k largest and the others smallest, for some k: all k are tried, and
  the least of equally good ones is taken. Advantages are compared over the whole batch, as inside
  a group standardised ones have the same variance everywhere.

  Args:
    values: `[*N]`, all axes together.
    where: `[*N]`, 1 on the members to choose from; None means all.
    size: how many; all, if there are not as many.
  Returns:
    `[*N]`; of equal values the first ones among the small and the last ones among the large.

  Source: the sample level of arXiv 2509.22115; the rule is that of arXiv 2504.13818.

  >>> max_variance(jnp.array([0.0, 1.0, -1.0, 0.2]), size=2)
  Array([0., 1., 1., 0.], dtype=float32)
  """
  real = stats.is_real(values, where).reshape(-1)
  x = jax.lax.stop_gradient(stats.as_float(values)).reshape(-1)
  spread = ~stats.is_constant(x, real, axis=None, keepdims=False)
  # Sums of squares of centred values do not cancel.
  x = jnp.where(real & spread, jnp.where(real, x, 0) - stats.mean(x, real), 0)
  order = jnp.argsort(jnp.where(real, x, jnp.inf), stable=True)
  ordered, n = x[order], jnp.sum(real)
  size = jnp.minimum(jnp.asarray(size).astype(n.dtype), n)
  largest = jnp.arange(x.size + 1)
  smallest = size - largest

  def chosen(y):  # sum over the smallest and the largest, for each number of the latter
    upto = jnp.concatenate([jnp.zeros_like(y[:1]), jnp.cumsum(y)])
    return upto[jnp.maximum(smallest, 0)] + upto[n] - upto[jnp.maximum(n - largest, 0)]

  count = jnp.maximum(size, 1).astype(x.dtype)
  square = chosen(ordered**2) / count
  variance = jnp.where(smallest >= 0, square - (chosen(ordered) / count) ** 2, -1)
  # Equal up to the rounding of the sums, so that rounding chooses nothing.
  near = 32 * jnp.finfo(x.dtype).eps * jnp.max(jnp.where(smallest >= 0, square, 0))
  k = jnp.argmax(variance >= jnp.max(variance) - near)
  rank = jnp.argsort(order)
  found = (rank < size - k) | ((rank >= n - k) & (rank < n))
  return found.astype(x.dtype).reshape(jnp.shape(values))
