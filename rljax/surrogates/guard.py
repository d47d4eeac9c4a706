"""Log-ratios brought to one mean and one spread before they are clipped.

Tokens fall into buckets, of position for example; in each the log-ratio is centred and rescaled, so
that a clip cuts as often on both sides and in every bucket, and the loss is scaled back.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def position_bucket(mask: jax.Array, *, buckets: int, max_length: int) -> jax.Array:
  """Bucket of each token by its place, equally wide up to `max_length`, int32 `[..., T]`.

  Raises ValueError unless both numbers are positive.

  >>> position_bucket(jnp.ones((1, 6)), buckets=2, max_length=4)
  Array([[0, 0, 1, 1, 1, 1]], dtype=int32)
  """
  if buckets < 1 or max_length < 1:
    raise ValueError(f'buckets ({buckets}) and max_length ({max_length}) must be positive.')
  place = jax.lax.broadcasted_iota(jnp.int32, mask.shape, mask.ndim - 1)
  return jnp.minimum(place * buckets // max_length, buckets - 1)


def bucket_moments(
  log_ratio: jax.Array, bucket: jax.Array, where: jax.Array, *, buckets: int, eps: float = 1e-8
) -> tuple[jax.Array, jax.Array]:
  """Mean of the log-ratio in each bucket, and its deviation over the pooled one; `[buckets]` both.

  Args:
    log_ratio: `[..., T]`.
    bucket: int `[..., T]`, in `[0, buckets)`.
    where: `[..., T]`, 1 on the tokens that count.
    buckets: their number.
    eps: a deviation up to which a bucket has none.
  Returns:
    Constants. The pooled deviation is that of all tokens from the mean of their own bucket, divided
    by their number (ddof 0). The second is 1 for a bucket without deviation; an empty one has mean
    0.

  Source: an adaptation to tokens of the ratio's normalisation of arXiv 2510.22319.
  """
  chex.assert_equal_shape([log_ratio, bucket, where])
  log_ratio = jax.lax.stop_gradient(stats.as_float(log_ratio)).reshape(-1, 1)
  member = (bucket.reshape(-1, 1) == jnp.arange(buckets)[None]) & (where.reshape(-1, 1) > 0)
  tokens = jnp.broadcast_to(log_ratio, member.shape)
  center = stats.mean(tokens, member, axis=0)
  spread = stats.variance(tokens, member, axis=0)
  spread = jnp.where(stats.is_constant(tokens, member, axis=0, keepdims=False), 0, spread)
  count = jnp.sum(member, axis=0).astype(spread.dtype)
  pooled = jnp.sum(count * spread) / jnp.maximum(jnp.sum(count), 1)
  wide = spread > eps**2
  scale = jnp.sqrt(jnp.where(wide, spread, 1) / jnp.where(pooled > 0, pooled, 1))
  return center, jnp.where(wide, scale, 1)


def regulated(
  log_ratio: jax.Array, bucket: jax.Array, center: jax.Array, scale: jax.Array
) -> jax.Array:
  """The log-ratio less its bucket's center, over its bucket's scale, `[..., T]`.

  The loss of it, times `scale[bucket]`, has the gradient of an ordinary one at the new ratio.

  Source: as `bucket_moments`.
  """
  return (log_ratio - center[bucket]) / scale[bucket]
