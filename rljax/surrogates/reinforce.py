"""The policy gradient without a ratio."""

from __future__ import annotations

import jax


def reinforce(logp: jax.Array, advantages: jax.Array) -> jax.Array:
  """`-advantages * logp`, `[..., T]`; `advantages` is a constant, `[..., T]` or `[..., 1]`.

  >>> import jax.numpy as jnp
  >>> reinforce(jnp.array([[-1.0, -3.0]]), jnp.array([[0.5]]))
  Array([[0.5, 1.5]], dtype=float32)
  """
  return -jax.lax.stop_gradient(advantages) * logp
