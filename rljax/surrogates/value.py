"""Losses of a value model per token; `returns` and `old_values` are constants, all `[..., T]`."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp


def squared_value(values: jax.Array, returns: jax.Array) -> jax.Array:
  """`(v - R)^2 / 2`, any shape, whose gradient in `values` is `v - R`.

  Source: arXiv 1707.06347, equation 9; the half as in verl's compute_value_loss.
  """
  chex.assert_equal_shape([values, returns])
  return 0.5 * (values - jax.lax.stop_gradient(returns)) ** 2


def clipped_value(
  values: jax.Array, old_values: jax.Array, returns: jax.Array, *, clip: float | jax.Array = 0.5
) -> jax.Array:
  """PPO's value loss: the larger of `squared_value` at `v` and at `v` held near the old value.

  Its gradient is `v - R`, and 0 where the value has moved by more than `clip` and is nearer to the
  return than the held one.

  Args:
    values: of the model being trained.
    old_values: before the update.
    returns: what they should be.
    clip: largest distance from `old_values`, in units of the return.

  Source: verl's compute_value_loss and its default of 0.5; arXiv 1707.06347, equation 9, has the
  squared error alone.

  >>> clipped_value(jnp.array([[0.25, 1.0]]), jnp.zeros((1, 2)), jnp.ones((1, 2)))
  Array([[0.28125, 0.125  ]], dtype=float32)
  """
  chex.assert_equal_shape([values, old_values, returns])
  old_values, returns = jax.lax.stop_gradient((old_values, returns))
  # The value itself where it has not moved far, to the last bit: else rounding would decide below.
  held = jnp.clip(jax.lax.stop_gradient(values), old_values - clip, old_values + clip)
  free, limited = squared_value(values, returns), squared_value(held, returns)
  # A choice, not a maximum: where both sides are equal jnp.maximum splits the gradient.
  return jnp.where(limited > free, limited, free)
