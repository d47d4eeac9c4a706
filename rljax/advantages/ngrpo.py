"""A group's statistics with an imagined perfect sample in them."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import stats
from rljax.advantages._members import group_mean, members


def ngrpo(
  rewards: jax.Array,
  where: jax.Array | None = None,
  *,
  max_reward: float = 1.0,
  n_virtual: int = 1,
  eps: float = 1e-6,
  ddof: int = 1,
) -> jax.Array:
  """GRPO advantages with imagined perfect samples in every group.

  They enter the group's mean and deviation and are dropped again, so a group of wrong answers
  pushes down instead of giving no gradient.

  Args:
    rewards: `[..., G]`; the last axis is the group.
    where: `[..., G]`, 1 on real members; None means all.
    max_reward: reward of an imagined sample.
    n_virtual: how many there are in a group.
    eps: added to the deviation.
    ddof: 1 for the unbiased deviation.
  Returns:
    `[..., G]`. All at `max_reward`: 0. All at one lower reward: `-1 / sqrt(G + 1)` up to eps, and
    so `-1 / sqrt(2)` for a group of one. Not centred on 0 otherwise.

  Source: NGRPO; follows the authors' core_algos.compute_ngrpo_outcome_advantage, except for a group
  of one, to which that gives its raw reward.

  >>> ngrpo(jnp.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]), eps=0.0)
  Array([[-0.5, -0.5, -0.5],
         [ 0. ,  0. ,  0. ]], dtype=float32)
  """
  rewards, real = members(rewards, where)
  virtual = jnp.full_like(rewards[..., :1], max_reward)
  everyone = jnp.concatenate([rewards] + [virtual] * n_virtual, axis=-1)
  counted = jnp.concatenate([real] + [jnp.ones_like(virtual, bool)] * n_virtual, axis=-1)
  scale = stats.std(everyone, counted, axis=-1, keepdims=True, ddof=ddof) + eps
  centred = rewards - group_mean(everyone, counted)
  return jnp.where(real, centred / jnp.where(scale > 0, scale, 1), 0)
