"""GUI-G1: the reward of a box drawn around something on a screen."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def gui_g1_box(
  predicted: jax.Array,
  gold: jax.Array,
  width: jax.Array,
  height: jax.Array,
  parsed: jax.Array | None = None,
  *,
  iou_weight: float = 0.25,
  box_weight: float = 0.125,
) -> jax.Array:
  """`hit + iou_weight * IoU + box_weight * box`.

  A hit is a predicted centre in the gold box or on its border. `box` is the harmonic mean of how
  well each of the four edges agrees, 1 less its distance in widths or heights of the image.

  Args:
    predicted: `[..., 4]`, x1, y1, x2, y2.
    gold: `[..., 4]`.
    width: `[...]`, of the image.
    height: `[...]`.
    parsed: `[...]`, above 0 where a box was found in the answer; None means everywhere.
    iou_weight: of the intersection over union.
    box_weight: of the agreement of edges.
  Returns:
    `[...]`; 0 without a box. `box` is 0 where an edge is a whole image away, or more.

  Source: arXiv 2505.15810; follows the authors' grpo_rec.py with the usual IoU, where the code
  counts pixels for the intersection and not for the areas, and with 0 for an edge agreement that is
  not positive, by which the code divides. The weights are marked there as to be set.

  >>> box = jnp.array([0.0, 0.0, 4.0, 4.0])
  >>> gui_g1_box(box, box + jnp.array([2.0, 0.0, 2.0, 0.0]), 8.0, 8.0)
  Array(1.1904762, dtype=float32)
  """
  chex.assert_equal_shape([predicted, gold])
  chex.assert_axis_dimension(predicted, -1, 4)
  predicted, gold = stats.as_float(predicted), stats.as_float(gold)
  (x1, y1, x2, y2), (u1, v1, u2, v2) = _edges(predicted), _edges(gold)
  x, y = (x1 + x2) / 2, (y1 + y2) / 2
  hit = ((u1 <= x) & (x <= u2) & (v1 <= y) & (y <= v2)).astype(x.dtype)
  common = _area(jnp.maximum(x1, u1), jnp.maximum(y1, v1), jnp.minimum(x2, u2), jnp.minimum(y2, v2))
  union = _area(x1, y1, x2, y2) + _area(u1, v1, u2, v2) - common
  iou = jnp.where(union > 0, common / jnp.where(union > 0, union, 1), 0)
  size = jnp.stack(jnp.broadcast_arrays(*map(stats.as_float, (width, height))), axis=-1)
  agreement = 1 - jnp.abs(predicted - gold) / jnp.concatenate([size, size], axis=-1)
  near = jnp.all(agreement > 0, axis=-1)
  box = jnp.where(near, 4 / jnp.sum(1 / jnp.where(near[..., None], agreement, 1), axis=-1), 0)
  reward = hit + iou_weight * iou + box_weight * box
  return reward if parsed is None else jnp.where(parsed > 0, reward, 0)


def _edges(box):
  return (box[..., i] for i in range(4))


def _area(x1, y1, x2, y2):
  return jnp.maximum(x2 - x1, 0) * jnp.maximum(y2 - y1, 0)
