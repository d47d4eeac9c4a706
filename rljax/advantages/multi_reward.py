"""Advantages from several rewards that are standardised one by one before they are added.

`rewards` are `[..., G, K]`: K rewards of each member of a group, NaN where one of them does not
apply to a response. Such an entry is not in the statistics of its reward, and adds nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp

from rljax import stats
from rljax.advantages.group import grpo


def mrn(
  rewards: jax.Array,
  weights: jax.Array | Sequence[float],
  where: jax.Array | None = None,
  *,
  eps: float = 1e-4,
  ddof: int = 1,
) -> jax.Array:
  """Multi-reward normalisation: the weighted sum of every reward's own GRPO advantage.

  Args:
    rewards: `[..., G, K]`.
    weights: `[K]`.
    where: `[..., G]`, 1 on real members; None means all.
    eps: added to the deviations.
    ddof: 1 for the unbiased deviation.
  Returns:
    `[..., G]`. A reward that is equal throughout a group, or known of one member, adds 0.

  Source: arXiv 2601.06993; follows the authors' mrpo_trainer.py, and where rewards are NaN, TRL.

  >>> rewards = jnp.array([[[1.0, 0.0], [0.0, 0.0], [0.0, 90.0], [0.0, 0.0]]])
  >>> mrn(rewards, [1.0, 0.5], eps=0.0)
  Array([[ 1.25, -0.75,  0.25, -0.75]], dtype=float32)
  """
  chex.assert_shape(rewards, (..., None, None, None))
  weights = jnp.asarray(weights, stats.as_float(rewards).dtype)
  chex.assert_shape(weights, (rewards.shape[-1],))
  real = _known(rewards, where)
  # [..., G, K] -> [..., K, G], where each reward is a group of its own
  x, real = jnp.swapaxes(rewards, -1, -2), jnp.swapaxes(real, -1, -2)
  own = grpo(jnp.where(real, x, 0), real, eps=eps, ddof=ddof)
  return jnp.sum(weights.reshape(*[1] * (own.ndim - 2), -1, 1) * own, axis=-2)


def gdpo(
  rewards: jax.Array,
  weights: jax.Array | Sequence[float],
  where: jax.Array | None = None,
  *,
  eps: float = 1e-4,
  ddof: int = 1,
) -> jax.Array:
  """`mrn`, and then mean 0 and deviation 1 over the sequences of the batch, all leading axes.

  Args as in `mrn`; `eps` and `ddof` serve both steps.

  Returns:
    `[..., G]`; 0 where nothing differs.

  Source: arXiv 2601.05242; as TRL's normalize_then_sum. The authors leave out the second step for a
  single reward and set a missing one to 0; verl's port whitens over tokens.
  """
  return standardize(mrn(rewards, weights, where, eps=eps, ddof=ddof), where, eps=eps, ddof=ddof)


def standardize(
  advantages: jax.Array, where: jax.Array | None = None, *, eps: float = 1e-4, ddof: int = 1
) -> jax.Array:
  """Less their mean and over their deviation plus `eps`, over all entries; any shape.

  Args:
    advantages: any shape.
    where: the same shape, 1 on the entries that count; None means all.
    eps: added to the deviation.
    ddof: 1 for the unbiased deviation.
  Returns:
    The same shape; 0 if all are equal, and where nothing counts.

  Source: the second step of GDPO, arXiv 2601.05242.
  """
  real = stats.is_real(advantages, where)
  x = jnp.where(real, stats.as_float(advantages), 0)
  scale = stats.std(x, real, ddof=ddof) + eps
  varies = real & ~stats.is_constant(x, real, axis=None, keepdims=False)
  return jnp.where(varies, (x - stats.mean(x, real)) / jnp.where(scale > 0, scale, 1), 0)


def _known(rewards, where):
  known = ~jnp.isnan(rewards)
  if where is None:
    return known
  chex.assert_equal_shape_prefix([rewards, where], rewards.ndim - 1)
  return known & (where > 0)[..., None]
