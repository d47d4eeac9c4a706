"""DGPO: every group that teaches something pulls alike, times a weight that grows with difficulty.

The last axis is the group; in functions that compare groups all leading axes together are the
batch. A group is valid if its rewards differ.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats
from rljax.advantages._members import group_mean, members
from rljax.advantages.group import center


def over_mean_deviation(
  rewards: jax.Array, where: jax.Array | None = None, *, eps: float = 1e-4
) -> jax.Array:
  """Centred reward over the group's mean absolute deviation, `G c / (sum |c| + eps)`, `[..., G]`.

  In every valid group the absolute advantages sum to G, whatever its success rate.

  Source: arXiv 2601.20614 (DGAE); eps as in the authors' grpo_trainer.py.

  >>> over_mean_deviation(jnp.array([[1.0, 0.0, 0.0, 0.0]]), eps=0.0)
  Array([[ 2.       , -0.6666667, -0.6666667, -0.6666667]], dtype=float32)
  """
  centred = center(rewards, where)
  n = jnp.sum(stats.is_real(rewards, where), axis=-1, keepdims=True).astype(centred.dtype)
  extent = jnp.sum(jnp.abs(centred), axis=-1, keepdims=True) + eps
  return n * centred / jnp.where(extent > 0, extent, 1)


def difficulty_weights(
  rewards: jax.Array, accuracy: jax.Array, where: jax.Array | None = None, *, tau: float = 2.0
) -> jax.Array:
  """A softmax over the valid groups of minus their accuracy, times their number, `[..., G]`.

  Args:
    rewards: `[..., G]`; they say which groups are valid.
    accuracy: `[..., G]`, the part of the reward that is correctness, 0 or 1.
    where: `[..., G]`, 1 on real members; None means all.
    tau: temperature.
  Returns:
    `[..., G]`, the same for all members: mean 1 over the valid groups, 1 on the others. A valid
    group without a right answer weighs like one without a wrong answer.

  Source: arXiv 2601.20614 (DQW); the last rule is that of the authors' grpo_trainer.py.
  """
  chex.assert_equal_shape([rewards, accuracy])
  rewards, real = members(rewards, where)
  accuracy, _ = members(accuracy, where)
  valid = ~stats.is_constant(rewards, real)
  rate = group_mean(accuracy, real)
  score = -jnp.where(rate == 0, 1, rate) / tau
  top = jnp.max(score, initial=-jnp.inf, where=valid)
  softmax = jnp.where(valid, jnp.exp(jnp.where(valid, score - top, 0)), 0)
  count = jnp.sum(valid).astype(rewards.dtype)
  weights = count * softmax / jnp.maximum(jnp.sum(softmax), 1)  # the hardest group's share is 1
  return jnp.where(real, jnp.where(valid, weights, 1), 0)


def valid_token_correction(
  rewards: jax.Array, lengths: jax.Array, where: jax.Array | None = None
) -> jax.Array:
  """Tokens of the batch over tokens of its valid groups, the same number everywhere, `[..., G]`.

  It makes a mean over all tokens one over the tokens of valid groups; leave it out where the others
  are not counted anyway. 1 if there is no valid group.

  Args:
    rewards: `[..., G]`; they say which groups are valid.
    lengths: `[..., G]`, tokens.
    where: `[..., G]`, 1 on real members; None means all.

  Source: arXiv 2601.20614 and the authors' grpo_trainer.py.
  """
  chex.assert_equal_shape([rewards, lengths])
  rewards, real = members(rewards, where)
  lengths, _ = members(lengths, where)
  valid = jnp.sum(jnp.where(stats.is_constant(rewards, real), 0, lengths))
  correction = jnp.where(valid > 0, jnp.sum(lengths) / jnp.where(valid > 0, valid, 1), 1)
  return jnp.where(real, correction, 0)


def dgpo(
  rewards: jax.Array,
  accuracy: jax.Array,
  lengths: jax.Array,
  where: jax.Array | None = None,
  *,
  tau: float = 2.0,
  eps: float = 1e-4,
) -> jax.Array:
  """`over_mean_deviation` times `difficulty_weights` times `valid_token_correction`, `[..., G]`.

  Args and source as there. No valid group: all 0.
  """
  return (
    over_mean_deviation(rewards, where, eps=eps)
    * difficulty_weights(rewards, accuracy, where, tau=tau)
    * valid_token_correction(rewards, lengths, where)
  )
