"""Advantages per token, standardised over the batch: `token_rewards` and `mask` are `[..., T]`.

Masked tokens (padding, tool output) are not read and get 0.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats

whiten = stats.whiten


def outcome_to_tokens(rewards: jax.Array, mask: jax.Array) -> jax.Array:
  """One reward per completion, placed on its last unmasked token; nowhere if there is none.

  Args:
    rewards: `[...]`.
    mask: `[..., T]`.
  Returns:
    `[..., T]`.

  >>> outcome_to_tokens(jnp.array([5.0]), jnp.array([[1.0, 1.0, 0.0]]))
  Array([[0., 5., 0.]], dtype=float32)
  """
  chex.assert_equal_shape_prefix([rewards, mask], mask.ndim - 1)
  chex.assert_rank(rewards, mask.ndim - 1)
  position = jax.lax.broadcasted_iota(jnp.int32, mask.shape, mask.ndim - 1)
  last = jnp.max(jnp.where(mask > 0, position, -1), axis=-1, keepdims=True, initial=-1)
  return jnp.where(position == last, stats.as_float(rewards)[..., None], 0)


def reward_to_go(
  token_rewards: jax.Array, mask: jax.Array, *, gamma: float | jax.Array = 1.0
) -> jax.Array:
  """Discounted sum of the rewards from each token on, `[..., T]`.

  Only unmasked tokens count: a masked one neither adds its reward nor discounts what follows it.

  Source: arXiv 2501.03262; follows verl's compute_reinforce_plus_plus_outcome_advantage, whose
  older versions start anew after a masked token.

  >>> reward_to_go(jnp.array([[0.0, 9.0, 8.0]]), jnp.array([[1.0, 0.0, 1.0]]), gamma=0.5)
  Array([[4., 0., 8.]], dtype=float32)
  """
  rewards = stats.as_float(token_rewards)
  real = stats.is_real(rewards, mask)
  rewards = jnp.where(real, rewards, 0)
  discount = jnp.where(real, jnp.full_like(rewards, gamma), 1)

  def join(
    later, earlier
  ):  # returns are affine in the return of what follows, and affine maps compose
    return later[0] * earlier[0], earlier[0] * later[1] + earlier[1]

  _, returns = jax.lax.associative_scan(
    join, (discount, rewards), reverse=True, axis=rewards.ndim - 1
  )
  return jnp.where(real, returns, 0)


def reinforce_pp(
  token_rewards: jax.Array, mask: jax.Array, *, gamma: float | jax.Array = 1.0
) -> jax.Array:
  """REINFORCE++: the reward-to-go of every token, whitened over the batch, `[..., T]`.

  Args:
    token_rewards: `[..., T]`: the outcome on the last token, a KL penalty already in it where used.
    mask: `[..., T]`.
    gamma: discount per unmasked token.

  Source: arXiv 2501.03262.
  """
  return whiten(reward_to_go(token_rewards, mask, gamma=gamma), mask)
