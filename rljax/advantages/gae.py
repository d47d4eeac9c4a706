"""Advantages per token against a value model's estimates: arrays are `[..., T]`, `mask` is 1 on
trained tokens.

Masked tokens (padding, tool output) are not read and get 0.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats
from rljax.advantages.batch import reward_to_go


def gae(
  token_rewards: jax.Array,
  values: jax.Array,
  mask: jax.Array,
  *,
  gamma: float | jax.Array = 1.0,
  lam: float | jax.Array = 1.0,
) -> tuple[jax.Array, jax.Array]:
  """Generalised advantage estimation: `delta_t + gamma lam A_next`, and `A + values` as returns.

  `delta_t` is `r_t + gamma V_next - V_t`, where "next" is the next unmasked token, and beyond the
  last one value and advantage are 0. A hole in the mask neither discounts nor ends a trajectory.

  Args:
    token_rewards: `[..., T]`: the outcome on the last token, a KL penalty already in it where used.
    values: `[..., T]`, of the state before each token.
    mask: `[..., T]`.
    gamma: discount per unmasked token.
    lam: 1 compares the reward-to-go with the value, 0 takes one step and trusts the next value.
  Returns:
    Advantages as they are, to be whitened by the method, and returns, what the values should have
    been; each `[..., T]`.

  Source: arXiv 1506.02438; follows verl's compute_gae_advantage_return, which whitens inside.

  >>> rewards, mask = jnp.array([[0.0, 9.0, 1.0]]), jnp.array([[1.0, 0.0, 1.0]])
  >>> gae(rewards, jnp.array([[0.25, 9.0, 0.5]]), mask, lam=0.5)
  (Array([[0.5, 0. , 0.5]], dtype=float32), Array([[0.75, 0.  , 1.  ]], dtype=float32))
  """
  rewards, values = stats.as_float(token_rewards), stats.as_float(values)
  chex.assert_equal_shape([rewards, values, mask])
  real = stats.is_real(rewards, mask)
  rewards, values = jnp.where(real, rewards, 0), jnp.where(real, values, 0)
  deltas = rewards + gamma * _next(values, real) - values
  advantages = reward_to_go(deltas, mask, gamma=gamma * lam)
  return advantages, jnp.where(real, advantages + values, 0)


def _next(x, real):
  """The entry at the next real place after each, 0 after the last one."""

  def join(later, earlier):
    found, value = earlier
    return found | later[0], jnp.where(found, value, later[1])

  _, from_here = jax.lax.associative_scan(join, (real, x), reverse=True, axis=x.ndim - 1)
  return jnp.concatenate([from_here[..., 1:], jnp.zeros_like(x[..., :1])], axis=-1)
