"""Advantages that compare a completion with the others of its prompt.

The last axis is the group: `rewards [..., G]` with at least two axes, so that rows `[B]` are never
taken for one big group, and `where [..., G]`, 1 on real members (None: all). A group of one and a
group of equal rewards give exactly 0, as do entries that are not real.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats
from rljax.advantages._members import members


def center(rewards: jax.Array, where: jax.Array | None = None) -> jax.Array:
  """Reward less the group's mean: the advantage of Dr. GRPO, `[..., G]`.

  Source: arXiv 2503.20783; its constant-length loss is `aggregation.constant`. verl gives a group
  of one its raw reward.

  >>> center(jnp.array([[1.0, 0.0, 0.0, 1.0]]))
  Array([[ 0.5, -0.5, -0.5,  0.5]], dtype=float32)
  """
  rewards, real = members(rewards, where)
  centred = rewards - stats.mean(rewards, real, axis=-1, keepdims=True)
  # The mean of equal rewards is not always that reward in float32.
  return jnp.where(real & ~stats.is_constant(rewards, real), centred, 0)


def grpo(
  rewards: jax.Array, where: jax.Array | None = None, *, eps: float = 1e-6, ddof: int = 1
) -> jax.Array:
  """Centred reward over the group's standard deviation, `[..., G]`.

  Args:
    rewards: `[..., G]`.
    where: `[..., G]`, 1 on real members.
    eps: added to the deviation.
    ddof: 1 divides the squared deviations by the members less one, 0 by the members.

  Source: arXiv 2402.03300; ddof and eps, which the paper leaves open, follow verl's
  compute_grpo_outcome_advantage, which gives a group of one its raw reward where this gives 0.

  >>> grpo(jnp.array([[1.0, 0.0, 0.0, 0.0], [0.1, 0.1, 0.1, 0.1]]), eps=0.0)
  Array([[ 1.5, -0.5, -0.5, -0.5],
         [ 0. ,  0. ,  0. ,  0. ]], dtype=float32)
  """
  scale = stats.std(rewards, where, axis=-1, keepdims=True, ddof=ddof) + eps
  return center(rewards, where) / jnp.where(
    scale > 0, scale, 1
  )  # 0 where eps is, for equal rewards


def rloo(rewards: jax.Array, where: jax.Array | None = None) -> jax.Array:
  """Reward less the mean of the group's other members, `[..., G]`.

  It is `center` times `G / (G - 1)`.

  Source: arXiv 2402.14740; for a group of one Tunix and TRL give 0 too, verl its raw reward.

  >>> rloo(jnp.array([[1.0, 0.0, 0.0]]))
  Array([[ 1. , -0.5, -0.5]], dtype=float32)
  """
  rewards, real = members(rewards, where)
  n = jnp.sum(real, axis=-1, keepdims=True).astype(rewards.dtype)
  others = (jnp.sum(rewards, axis=-1, keepdims=True) - rewards) / jnp.maximum(n - 1, 1)
  return jnp.where(real & ~stats.is_constant(rewards, real), rewards - others, 0)


def raw_if_alone(
  advantages: jax.Array, rewards: jax.Array, where: jax.Array | None = None
) -> jax.Array:
  """`advantages`, and in groups of one the raw reward in place of 0, `[..., G]`.

  Source: verl, in its estimators for GRPO, Dr. GRPO and RLOO.

  >>> rewards = jnp.array([[1.0, 0.0], [3.0, 0.0]])
  >>> where = jnp.array([[1.0, 1.0], [1.0, 0.0]])
  >>> raw_if_alone(center(rewards, where), rewards, where)
  Array([[ 0.5, -0.5],
         [ 3. ,  0. ]], dtype=float32)
  """
  chex.assert_equal_shape([advantages, rewards])
  rewards, real = members(rewards, where)
  alone = real & (jnp.sum(real, axis=-1, keepdims=True) == 1)
  return jnp.where(alone, rewards, advantages)
