"""PPO's clipped losses.

`ratio` is `[..., T]` or `[..., 1]` and carries the gradient; `advantages` has the same number of
axes and is a constant. `low` and `high` are distances from 1 (clip-higher: `high > low`), numbers
or arrays with the axes of `ratio`. On-policy, at ratio 1, every loss is `-advantages` and so is its
gradient in `logp`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def clipped(
  ratio: jax.Array,
  advantages: jax.Array,
  low: float | jax.Array = 0.2,
  high: float | jax.Array = 0.2,
) -> jax.Array:
  """PPO's loss `max(-A r, -A clip(r, 1 - low, 1 + high))`.

  Its gradient in `log r` is `-A r`, and 0 where the clip holds: above `1 + high` for positive,
  below `1 - low` for negative advantages.

  Source: arXiv 1707.06347; two bounds: arXiv 2503.14476.

  >>> clipped(jnp.array([[1.5, 1.5]]), jnp.array([[1.0, -1.0]]))
  Array([[-1.2,  1.5]], dtype=float32)
  """
  advantages = jax.lax.stop_gradient(advantages)
  bound = jnp.where(advantages > 0, 1 + high, 1 - low)
  # A choice, not a maximum: where both sides are equal jnp.maximum splits the gradient.
  return -advantages * jnp.where(_cut(ratio, advantages, low, high), bound, ratio)


def dual_clipped(
  ratio: jax.Array,
  advantages: jax.Array,
  low: float | jax.Array = 0.2,
  high: float | jax.Array = 0.2,
  cap: float = 3.0,
) -> jax.Array:
  """`clipped`, with the ratio of negative advantages bounded by `cap` as well.

  `cap` is the largest ratio itself, not a distance from 1; two-sided clipping with `delta = cap` is
  the same function.

  Raises:
    ValueError: `cap` is not above 1.

  Source: arXiv 1912.09729; the default of `cap` is verl's.
  """
  if cap <= 1:
    raise ValueError(f'cap bounds the ratio itself and must be above 1, not {cap}.')
  over = (jax.lax.stop_gradient(advantages) < 0) & (ratio > cap)
  return clipped(jnp.where(over, cap, ratio), advantages, low, high)


def clip_fraction(
  ratio: jax.Array,
  advantages: jax.Array,
  low: float | jax.Array = 0.2,
  high: float | jax.Array = 0.2,
) -> jax.Array:
  """1 where the clip takes the gradient of `clipped`, else 0; its weighted mean is the fraction."""
  return _cut(ratio, advantages, low, high).astype(ratio.dtype)


def _cut(ratio, advantages, low, high):
  return ((advantages > 0) & (ratio > 1 + high)) | ((advantages < 0) & (ratio < 1 - low))
