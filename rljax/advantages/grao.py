"""Advantages of samples beside a reference answer to the same prompt.

The last axis is the group, the reference answer one of its members: `reference [..., G]` is 1 on it
and 0 on samples; `where [..., G]` is 1 on real members (None: all).
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats
from rljax.advantages.group import grpo


def grao(
  rewards: jax.Array, reference: jax.Array, where: jax.Array | None = None, *, eps: float = 1e-8
) -> jax.Array:
  """Distance of each reward to the samples' mean in their deviations, `[..., G]`.

  The reference answer is measured by the samples and has no part in their statistics. Samples of
  equal rewards have no deviation to measure by: then all members get 0, the reference too.

  Args:
    rewards: `[..., G]`.
    reference: `[..., G]`.
    where: `[..., G]`.
    eps: added to the deviation, which is the biased one.

  Source: arXiv 2508.07750, equations 2 to 4, which print no eps.

  >>> grao(jnp.array([[1.0, 0.0, 2.0]]), jnp.array([[0.0, 0.0, 1.0]]))
  Array([[ 1., -1.,  3.]], dtype=float32)
  """
  chex.assert_shape(rewards, (..., None, None))
  chex.assert_equal_shape([rewards, reference])
  real = stats.is_real(rewards, where)
  rewards = jnp.where(real, stats.as_float(rewards), 0)
  samples = real & ~(reference > 0)
  centred = rewards - stats.mean(rewards, samples, axis=-1, keepdims=True)
  scale = stats.std(rewards, samples, axis=-1, keepdims=True) + eps
  measured = real & ~stats.is_constant(rewards, samples)
  return jnp.where(measured, centred / jnp.where(scale > 0, scale, 1), 0)


def grao_joint(
  rewards: jax.Array, reference: jax.Array, where: jax.Array | None = None, *, eps: float = 1e-8
) -> jax.Array:
  """`grao` with the reference answer in the statistics as well, `[..., G]`.

  The advantages of the samples then do not add up to 0, and `grao_weights`' pairwise term acts on
  the reference.

  Source: the other reading of the groups of arXiv 2508.07750.
  """
  del reference
  return grpo(rewards, where, eps=eps, ddof=0)


def grao_weights(
  advantages: jax.Array,
  reference: jax.Array,
  where: jax.Array | None = None,
  *,
  beta: float = 0.5,
  pairwise: float = 0.6,
) -> jax.Array:
  """What each member's mean log-probability j is multiplied by in the objective, `[..., G]`.

  Of n samples and the reference y the objective is the mean over samples of
  `A j + beta A_y j_y + pairwise A (j - j_y)`. It is linear, so a sample has the weight
  `(1 + pairwise) A / n` and the reference `beta A_y - pairwise mean(A)`: where the A add up to 0,
  as `grao`'s do, the pairwise term only makes the first one larger.

  Args:
    advantages: `[..., G]`.
    reference: `[..., G]`.
    where: `[..., G]`, 1 on the members that take part.
    beta: weight of imitating the reference.
    pairwise: weight of the pairwise term.
  Returns:
    `[..., G]`. Without a reference there is neither imitation nor pair; several share the weight of
    one. Without samples all are 0.

  Source: arXiv 2508.07750, equations 2 to 4.
  """
  chex.assert_shape(advantages, (..., None, None))
  chex.assert_equal_shape([advantages, reference])
  real = stats.is_real(advantages, where)
  advantages = jnp.where(real, stats.as_float(advantages), 0)
  answers = real & (reference > 0)
  samples = real & ~answers
  n = jnp.sum(samples, axis=-1, keepdims=True).astype(advantages.dtype)
  m = jnp.sum(answers, axis=-1, keepdims=True).astype(advantages.dtype)
  own = advantages * jnp.where(m > 0, 1 + pairwise, 1) / jnp.maximum(n, 1)
  average = stats.mean(advantages, samples, axis=-1, keepdims=True)
  theirs = (beta * advantages - pairwise * average) / jnp.maximum(m, 1)
  return jnp.where(samples, own, jnp.where(answers & (n > 0), theirs, 0))
