"""The one place where activations meet a weight."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def project(equation: str, x: jax.Array, weight: jax.Array) -> jax.Array:
  """`einsum(equation, x, weight)` in the type of the activations.

  Every product of the decoder but those inside the attention goes through here.
  """
  return jnp.einsum(equation, x, weight.astype(x.dtype))
