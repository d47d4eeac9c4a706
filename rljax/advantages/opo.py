"""A baseline that weighs each sample of the group by its length."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats
from rljax.advantages._members import group_mean, members


def opo(rewards: jax.Array, lengths: jax.Array, where: jax.Array | None = None) -> jax.Array:
  """Reward less the group's mean reward per token: the baseline of least variance, not scaled.

  Args:
    rewards: `[..., G]`; the last axis is the group.
    lengths: `[..., G]`, tokens.
    where: `[..., G]`, 1 on real members; None means all.
  Returns:
    `[..., G]`. Equal rewards and a group of one give exactly 0, equal lengths `center`. Weighted by
    length the advantages of a group sum to 0, unweighted they need not. A group without a token has
    the plain mean as its baseline.

  Source: arXiv 2505.23585; as verl's compute_opo_outcome_advantage, which gives a group of one its
  raw reward.

  >>> opo(jnp.array([[1.0, 0.0]]), jnp.array([[3.0, 1.0]]))
  Array([[ 0.25, -0.75]], dtype=float32)
  """
  chex.assert_equal_shape([rewards, lengths])
  rewards, real = members(rewards, where)
  lengths = jnp.where(real, lengths, 0).astype(rewards.dtype)
  tokens = jnp.sum(lengths, axis=-1, keepdims=True)
  per_token = jnp.sum(lengths * rewards, axis=-1, keepdims=True) / jnp.where(tokens > 0, tokens, 1)
  baseline = jnp.where(tokens > 0, per_token, group_mean(rewards, real))
  return jnp.where(real & ~stats.is_constant(rewards, real), rewards - baseline, 0)
