"""Weights that keep a prompt which stands in a batch several times from dominating it."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import stats


def copy_discount(copies: jax.Array, *, floor: float = 0.0) -> jax.Array:
  """`max(1 / copies, floor)`; any shape.

  Source: a reconstruction for arXiv 2512.07478, whose formula was not seen.
  """
  return jnp.maximum(1 / jnp.maximum(stats.as_float(copies), 1), floor)


def smoothed_value(
  values: jax.Array, average: jax.Array, copies: jax.Array, *, width: float = 0.2
) -> jax.Array:
  """The value of a prompt relative to the batch's, held near 1, over the number of its copies.

  Args:
    values: any shape, at least 0.
    average: of the values of the batch's prompts; a number, or an array with the axes of `values`.
    copies: the shape of `values`.
    width: the relative value is held to `1 - width` to `1 + width`.
  Returns:
    The shape of `values`; `1 / copies` where `average` is 0.

  Source: a reconstruction of the value-smoothing clip of arXiv 2512.07478, whose formula was not
  seen; the width is ours.

  >>> smoothed_value(jnp.array([0.1, 0.3]), jnp.float32(0.2), jnp.array([1.0, 2.0]))
  Array([0.8, 0.6], dtype=float32)
  """
  average = stats.as_float(average)
  relative = jnp.where(average > 0, values / jnp.where(average > 0, average, 1), 1)
  return jnp.clip(relative, 1 - width, 1 + width) / jnp.maximum(stats.as_float(copies), 1)
