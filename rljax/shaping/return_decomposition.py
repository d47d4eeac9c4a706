"""LaRe: rewards for steps that add up to the reward of an episode."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def return_decomposition_loss(
  proxy: jax.Array, returns: jax.Array, where: jax.Array | None = None
) -> jax.Array:
  """`(return - sum of the proxy rewards)^2` of each episode, `[...]`.

  What is differentiated are the proxy rewards, a decoder's of the latent reward of each step; the
  policy is then trained on them. An episode of one step teaches the decoder its return.

  Args:
    proxy: `[..., S]`, one number a step.
    returns: `[...]`, constants.
    where: `[..., S]`, 1 on real steps; an episode without any has loss 0.

  Source: the loss of return decomposition, which LaRe fits with features that a language model's
  code finds in states and actions; its paper was not seen beyond the abstract.

  >>> return_decomposition_loss(jnp.array([[0.5, 1.0]]), jnp.array([2.0]))
  Array([0.25], dtype=float32)
  """
  chex.assert_equal_shape_prefix([proxy, returns], returns.ndim)
  chex.assert_rank(proxy, returns.ndim + 1)
  real = stats.is_real(proxy, where)
  total = jnp.sum(jnp.where(real, stats.as_float(proxy), 0), axis=-1)
  error = jax.lax.stop_gradient(stats.as_float(returns)) - total
  return jnp.where(jnp.any(real, axis=-1), error**2, 0)
