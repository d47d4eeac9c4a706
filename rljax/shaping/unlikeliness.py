"""Less reward for what the policy says anyway."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def unlikeliness(
  rewards: jax.Array, score: jax.Array, where: jax.Array | None = None, *, beta: float = 0.25
) -> jax.Array:
  """Rewards times `1 - beta rank / G`, the rank of a member in its group from the least likely on.

  Made for rewards of at least 0; a punishment would shrink. Wrong members take ranks too.

  Args:
    rewards: `[..., G]`; the last axis is the group.
    score: `[..., G]`, mean log-probability a token.
    where: `[..., G]`, 1 on real members, whose number is G.
    beta: what the likeliest member loses, almost.
  Returns:
    `[..., G]`. The least likely member keeps its reward, the likeliest `1 - beta (G - 1) / G` of
    it; of equally likely ones the first has the lower rank.

  Source: arXiv 2506.02355; follows the authors' ray_lean_trainer.py.

  >>> unlikeliness(jnp.array([[1.0, 1.0, 0.0, 1.0]]), jnp.array([[-1.0, -3.0, -2.0, -4.0]]))
  Array([[0.8125, 0.9375, 0.    , 1.    ]], dtype=float32)
  """
  chex.assert_shape(rewards, (..., None, None))
  chex.assert_equal_shape([rewards, score])
  rewards, score = stats.as_float(rewards), stats.as_float(score)
  real = stats.is_real(rewards, where)
  size = jnp.sum(real, axis=-1, keepdims=True)
  mine, other = score[..., :, None], score[..., None, :]
  pair = (*score.shape, score.shape[-1])
  place = [jax.lax.broadcasted_iota(jnp.int32, pair, score.ndim - i) for i in (1, 0)]
  below = (other < mine) | ((other == mine) & (place[1] < place[0]))
  rank = jnp.sum(below & real[..., None, :], axis=-1)
  share = rank.astype(rewards.dtype) / jnp.maximum(size, 1).astype(rewards.dtype)
  return jnp.where(real, rewards * (1 - beta * share), 0)
