"""Policy losses of completions that the policy did not draw."""

from __future__ import annotations

import chex
import jax

from rljax import ratios, stats


def policy_shift(
  logp: jax.Array, old_logp: jax.Array | None, advantages: jax.Array, accuracy: jax.Array
) -> jax.Array:
  """`-A exp(logp - accuracy old_logp)`: from imitation to a plain ratio as the policy gets better.

  Nobody knows how likely an offline completion was where it was drawn. Where the group is always
  right it is taken to be the policy's own, with the old policy's probability in the denominator;
  where it never is, the denominator is 1, and likely tokens are learnt first.

  Args:
    logp: `[..., T]`.
    old_logp: `[..., T]`, a constant, or None for the policy itself.
    advantages: `[..., T]` or `[..., 1]`, a constant.
    accuracy: `[...]`, share of the group's rollouts that are right, in [0, 1].
  Returns:
    `[..., T]`; the gradient in `logp` is the value, and 0 beyond the clamp of log-ratios.

  Source: RED, arXiv 2508.16677. A reconstruction: the reviews of the paper say what the accuracy
  chooses between and not how.

  >>> import jax.numpy as jnp
  >>> logp = jnp.log(jnp.array([[0.5], [0.5]]))
  >>> policy_shift(logp, logp, jnp.ones((2, 1)), jnp.array([0.0, 1.0]))
  Array([[-0.5],
         [-1. ]], dtype=float32)
  """
  chex.assert_rank(accuracy, logp.ndim - 1)
  old_logp = jax.lax.stop_gradient(logp if old_logp is None else old_logp)
  power = jax.lax.stop_gradient(stats.as_float(accuracy))[..., None]
  return -jax.lax.stop_gradient(advantages) * ratios.token(logp, power * old_logp)
