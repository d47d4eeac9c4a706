"""A clip without an edge."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def sapo(
  ratio: jax.Array,
  advantages: jax.Array,
  *,
  tau_pos: float | jax.Array = 1.0,
  tau_neg: float | jax.Array = 1.05,
) -> jax.Array:
  """`-advantages (4 / tau) sigmoid(tau (ratio - 1))`: a gate that closes smoothly around 1.

  Its gradient in `log ratio` is `-4 s (1 - s) ratio advantages` of the sigmoid s: `-advantages` at
  ratio 1. The value there is `-2 advantages / tau`, so values differ from those of `clipped` by a
  constant.

  Args:
    ratio: `[..., T]` or `[..., 1]`, carries the gradient.
    advantages: as many axes; a constant.
    tau_pos: how fast the gate closes for positive advantages.
    tau_neg: the same for all others.

  Source: arXiv 2511.20347; verl's compute_policy_loss_sapo. ms-swift's page of loss types leaves
  `4 / tau` out.

  >>> sapo(jnp.array([[1.0, 1.0]]), jnp.array([[1.0, -1.0]]), tau_neg=2.0)
  Array([[-2.,  1.]], dtype=float32)
  """
  advantages = jax.lax.stop_gradient(advantages)
  tau = jnp.where(advantages > 0, tau_pos, tau_neg)
  x = tau * (ratio - 1)
  # Of two equal forms the one whose slope is a small number itself, not 1 less another near 1.
  tail = jax.nn.sigmoid(jnp.where(x > 0, -x, x))
  return -advantages * (4 / tau) * jnp.where(x > 0, 1 - tail, tail)
