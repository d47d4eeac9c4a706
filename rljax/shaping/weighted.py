"""Rewards that are read off columns: a judge's number, and a weighted sum of several."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def rubric(judgement: jax.Array) -> jax.Array:
  """A judge's score of the whole solution, held to [0, 1], any shape, in place of right or wrong.

  NaN, where the judge failed, counts as 0.

  Source: arXiv 2510.07774; what it computes is the judge.

  >>> rubric(jnp.array([0.25, 1.5, -1.0, jnp.nan]))
  Array([0.25, 1.  , 0.  , 0.  ], dtype=float32)
  """
  judgement = stats.as_float(judgement)
  return jnp.where(jnp.isnan(judgement), 0, jnp.clip(judgement, 0, 1))


def weighted_sum(rewards: jax.Array, weights: jax.Array) -> jax.Array:
  """Weighted sum of K rewards, `[*N]`.

  Args:
    rewards: `[*N, K]`.
    weights: `[K]`; as one-hot vectors they choose the reward of a phase. Where a reward has weight
      0 it may be anything but NaN and infinity.

  Source: the four criteria of arXiv 2511.16073, whose weights were not seen.

  >>> weighted_sum(jnp.array([[1.0, 0.5], [0.0, 1.0]]), jnp.array([0.5, 2.0]))
  Array([1.5, 2. ], dtype=float32)
  """
  chex.assert_shape(weights, (rewards.shape[-1],))
  rewards = stats.as_float(rewards)
  return jnp.sum(rewards * jnp.broadcast_to(weights, rewards.shape), axis=-1)
