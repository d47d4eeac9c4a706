"""HAPO's group statistics, in which a long completion counts more."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats
from rljax.advantages.group import grpo


def hapo(
  rewards: jax.Array,
  lengths: jax.Array,
  where: jax.Array | None = None,
  *,
  limit: float = 5.0,
  eps: float = 1e-6,
) -> jax.Array:
  """Reward less the mean over the group's tokens, over their deviation, `[..., G]`.

  A short completion among long ones of another reward can be many deviations away: where a member's
  advantage reaches `limit`, its whole group gets the advantages of `grpo`.

  Args:
    rewards: `[..., G]`; the last axis is the group.
    lengths: `[..., G]`, tokens.
    where: `[..., G]`, 1 on real members; None means all.
    limit: the absolute advantage from which on the group falls back.
    eps: added to both deviations, of which `grpo`'s is unbiased and the other is not.
  Returns:
    `[..., G]`; 0 for members without tokens, and for all if those with tokens have equal rewards.

  Source: arXiv 2509.16591; follows the authors' compute_hapo_outcome_advantage, which looks for the
  limit on padding too, where this looks at tokens only.
  """
  chex.assert_shape(rewards, (..., None, None))
  chex.assert_equal_shape([rewards, lengths])
  real = stats.is_real(rewards, where)
  rewards = jnp.where(real, stats.as_float(rewards), 0)
  tokens = jnp.where(real, stats.as_float(lengths), 0)
  speaks = tokens > 0
  total = jnp.maximum(jnp.sum(tokens, axis=-1, keepdims=True), 1)
  centred = rewards - jnp.sum(tokens * rewards, axis=-1, keepdims=True) / total
  deviation = jnp.sqrt(jnp.sum(tokens * centred**2, axis=-1, keepdims=True) / total)
  found = jnp.where(speaks & ~stats.is_constant(rewards, speaks), centred / (deviation + eps), 0)
  far = jnp.any(jnp.abs(found) >= limit, axis=-1, keepdims=True)
  return jnp.where(speaks, jnp.where(far, grpo(rewards, real, eps=eps), found), 0)
