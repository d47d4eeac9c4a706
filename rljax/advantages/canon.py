"""CANON: a group cut in two by a metric, and each half compared with the other or with itself."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats
from rljax.advantages._members import group_mean, members


def canon(
  rewards: jax.Array,
  metric: jax.Array,
  where: jax.Array | None = None,
  *,
  mu: float | jax.Array = 1.0,
  alpha_high: float = 1.0,
  alpha_low: float = 1.0,
) -> jax.Array:
  """`mu` times the comparison with the other half's mean, the rest with that of its own half.

  Sorted by the metric, the first `floor(G / 2)` members are the low half and the rest the high one;
  equal metrics keep the order of the samples. Between the halves rewards are discounted by the
  factor of the half that they come from.

  Args:
    rewards: `[..., G]`; the last axis is the group.
    metric: `[..., G]`, such as the length or the mean entropy.
    where: `[..., G]`, 1 on real members; None means all.
    mu: share of the comparison between the halves.
    alpha_high: discount of the high half's rewards; below 1 with the length as metric it is the
      efficient variant.
    alpha_low: discount of the low half's rewards; the one to lower with the entropy as metric.
  Returns:
    `[..., G]`. A group of one: 0. Equal rewards: 0 if both discounts are equal to 1, otherwise the
    halves differ even so. `mu` 1/2 without discounts is `center` for groups of even size.

  Source: arXiv 2509.23962, equations 5 and 8; follows the authors'
  compute_dr_length_on_mean_group_outcome_advantage and its twin for entropy, which also divide by
  8192 (an aggregation here) and give a group of one its raw reward.

  >>> canon(jnp.array([[1.0, 0.0, 0.0, 0.0]]), jnp.array([[1.0, 2.0, 3.0, 4.0]]))
  Array([[ 1. ,  0. , -0.5, -0.5]], dtype=float32)
  """
  chex.assert_equal_shape([rewards, metric])
  rewards, real = members(rewards, where)
  n = jnp.sum(real, axis=-1, keepdims=True)
  low = real & (_rank(metric, real) < n // 2)
  high = real & ~low
  mean_low, mean_high = group_mean(rewards, low), group_mean(rewards, high)
  inter = jnp.where(
    low,
    alpha_low * rewards - alpha_high * mean_high,
    alpha_high * rewards - alpha_low * mean_low,
  )
  intra = rewards - jnp.where(low, mean_low, mean_high)
  return jnp.where(real & (n > 1), mu * inter + (1 - mu) * intra, 0)


def cosine_mu(
  step: jax.Array,
  *,
  steps: int = 150,
  warmup: int = 30,
  cycles: int = 3,
  intra: float = 0.6,
) -> jax.Array:
  """`mu` of `canon` by a cosine with restarts: first within the halves, later between them, `[]`.

  The share `1 - mu` rises linearly to `intra` in the warm-up; in each cycle after it the share
  falls from `intra` to 0.

  Args:
    step: from 0.
    steps: length of the schedule, warm-up included; beyond it the cycles go on.
    warmup: steps of the warm-up.
    cycles: how many there are in the rest.
    intra: the largest share.

  Source: cosine_annealing_with_restart in the core_algos.py of arXiv 2509.23962.
  """
  share = jnp.where(
    step < warmup,
    intra * (step + 1) / warmup,
    intra * _falling(step, steps, warmup, cycles),
  )
  return 1 - share


def cosine_mu_reversed(
  step: jax.Array,
  *,
  steps: int = 150,
  warmup: int = 30,
  cycles: int = 3,
  intra: float = 0.6,
) -> jax.Array:
  """`mu` of `canon`, first between the halves, later within them, `[]`.

  `mu` rises linearly to 1 in the warm-up; in each cycle after it the share `1 - mu` rises from 0 to
  `intra`. Args and source as in `cosine_mu`.
  """
  share = jnp.where(
    step < warmup,
    1 - (step + 1) / warmup,
    intra * (1 - _falling(step, steps, warmup, cycles)),
  )
  return 1 - share


def _falling(step, steps, warmup, cycles):
  """Half a cosine from 1 to 0 in each cycle after the warm-up."""
  length = (steps - warmup) // cycles
  return 0.5 * (1 + jnp.cos(jnp.pi * ((step - warmup) % length) / length))


def _rank(metric, real):
  """Place of each real member by its metric, ascending; equal ones in order, `[..., G]`."""
  metric = jnp.where(real, stats.as_float(metric), jnp.inf)
  own, other = metric[..., :, None], metric[..., None, :]
  index = jax.lax.broadcasted_iota(jnp.int32, metric.shape, metric.ndim - 1)
  earlier = (other == own) & (index[..., None, :] < index[..., :, None])
  return jnp.sum(((other < own) | earlier) & real[..., None, :], axis=-1)
