"""RiskPO: bundles of prompts, scored together, and a weight on the lower tail of their scores.

`rewards [P, G]`, and `bundle [P]` says which of P prompts belong together, by ids in `[0, P)`. The
j-th responses of a bundle's prompts make its score j. Scores are indexed by bundle, `[P, G]`: row b
is bundle b, and rows that are no bundle's id are empty.
"""

from __future__ import annotations

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from rljax import stats
from rljax.advantages._members import members

_FLAT = 1e-3  # a deviation up to this is taken for 1


def bundle_scores(
  rewards: jax.Array, bundle: jax.Array, where: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
  """Sums of the j-th rewards of each bundle's prompts, and which of them exist, both `[P, G]`.

  Score j of a bundle exists if all of its prompts have a j-th response; the others are 0.

  Source: arXiv 2510.00911 and the authors' ray_trainer.compute_bundle_scores. The paper permutes
  the responses of each prompt first, which for exchangeable samples changes nothing.

  >>> scores, exist = bundle_scores(jnp.array([[1.0, 0.0], [1.0, 1.0]]), jnp.array([0, 0]))
  >>> scores
  Array([[2., 1.],
         [0., 0.]], dtype=float32)
  """
  chex.assert_rank(rewards, 2)
  chex.assert_shape(bundle, rewards.shape[:1])
  rewards, real = members(rewards, where)
  prompts = _total(jnp.any(real, axis=-1, keepdims=True).astype(rewards.dtype), bundle)
  exist = (prompts > 0) & (_total(real.astype(rewards.dtype), bundle) == prompts)
  return jnp.where(exist, _total(rewards, bundle), 0), exist.astype(rewards.dtype)


def risk(
  scores: jax.Array,
  low: jax.Array,
  high: jax.Array,
  where: jax.Array | None = None,
  *,
  alpha: float = 0.2,
  beta: float = 0.8,
  omega: float = 0.5,
  eps: float = 1e-6,
) -> jax.Array:
  """Advantage of each score: its place below two quantiles, over the deviation of its bundle.

  With `tail = -max(low - Z, 0)` and `body = max(Z, low) - max(Z, high)`, both at most 0:
  `((1 + omega) tail / (alpha + eps) + body / (beta - alpha + eps)) / (2 + omega)`.

  Args:
    scores: Z, `[..., G]`; the last axis is the bundle.
    low: the alpha-quantile, a number or `[..., 1]`.
    high: the beta-quantile.
    where: `[..., G]`, 1 on scores that exist; None means all.
    alpha: level of `low`.
    beta: level of `high`.
    omega: additional weight of the tail.
    eps: division guard.
  Returns:
    `[..., G]`, never positive: 0 from `high` on. A single score has deviation 1. Equal scores have
    deviation 0, and eps alone divides them: 0 if they lie at or above `high`, very large otherwise.

  Source: arXiv 2510.00911; follows the authors'
  compute_grpo_bundle_rvar_outcome_advantage_quantile_tracking, which divides by the levels and the
  deviation where the paper does not, see `risk_paper`.
  """
  tail, body = _parts(scores, low, high)
  return _mixed(scores, tail, body, where, alpha, beta, omega, eps)


def risk_two_signed(
  scores: jax.Array,
  low: jax.Array,
  high: jax.Array,
  where: jax.Array | None = None,
  *,
  alpha: float = 0.2,
  beta: float = 0.8,
  omega: float = 0.5,
  eps: float = 1e-6,
) -> jax.Array:
  """`risk` with a body that is larger by `high - low`: positive above the low quantile.

  Source: `natural_baseline_adv=False` of the same function, in the authors' script for DAPO-math.
  """
  tail, body = _parts(scores, low, high)
  return _mixed(scores, tail, body + (high - low), where, alpha, beta, omega, eps)


def risk_paper(
  scores: jax.Array,
  low: jax.Array,
  high: jax.Array,
  where: jax.Array | None = None,
  *,
  omega: float = 0.5,
) -> jax.Array:
  """`(1 + omega) tail + body` of `risk`: neither levels nor a deviation divide, `[..., G]`.

  Source: the objective of arXiv 2510.00911.
  """
  tail, body = _parts(scores, low, high)
  return jnp.where(stats.is_real(scores, where), (1 + omega) * tail + body, 0)


def uniform_credit(
  advantages: jax.Array, rewards: jax.Array, bundle: jax.Array, where: jax.Array | None = None
) -> jax.Array:
  """Every response of a score gets that score's advantage, `[P, G]`.

  Args:
    advantages: `[P, G]`, by bundle.
    rewards: `[P, G]`, by prompt.
    bundle: `[P]`.
    where: `[P, G]`, 1 on real responses; None means all.
  """
  return jnp.where(stats.is_real(rewards, where), advantages[bundle], 0)


def deviation_credit(
  advantages: jax.Array,
  rewards: jax.Array,
  bundle: jax.Array,
  where: jax.Array | None = None,
  *,
  eps: float = 1e-6,
) -> jax.Array:
  """`uniform_credit` over the deviation of the rewards of the response's own prompt, `[P, G]`.

  A deviation up to 1e-3, and that of a single response, is taken for 1. Source: "std" of the
  authors' code, in their script for MATH.
  """
  deviation = stats.std(rewards, where, axis=-1, keepdims=True, ddof=1)
  deviation = jnp.where(deviation > _FLAT, deviation, 1)
  return uniform_credit(advantages, rewards, bundle, where) / (deviation + eps)


def share_credit(
  advantages: jax.Array, rewards: jax.Array, bundle: jax.Array, where: jax.Array | None = None
) -> jax.Array:
  """A score's advantage, divided among its responses by reward less the prompt's mean, `[P, G]`.

  Where these sum to 0 (to within 1e-6) all get the same part. Source: "sum-mean" of the authors'
  code, in their script for DAPO-math.
  """
  rewards, real = members(rewards, where)
  centred = jnp.where(real, rewards - stats.mean(rewards, real, axis=-1, keepdims=True), 0)
  total = _total(centred, bundle)[bundle]
  responses = _total(real.astype(rewards.dtype), bundle)[bundle]
  unequal = jnp.abs(total) > 1e-6
  share = jnp.where(unequal, centred / jnp.where(unequal, total, 1), 1 / jnp.maximum(responses, 1))
  return uniform_credit(advantages, rewards, bundle, real) * share


class TrackedQuantiles(NamedTuple):
  """Quantile estimates `[levels]` that are carried from batch to batch; `started` is `[]`, bool."""

  quantiles: jax.Array
  started: jax.Array


def quantiles_init(levels: tuple[float, ...]) -> TrackedQuantiles:
  """The state before the first batch."""
  return TrackedQuantiles(jnp.zeros(len(levels)), jnp.zeros((), bool))


def quantiles_update(
  state: TrackedQuantiles,
  samples: jax.Array,
  where: jax.Array | None = None,
  *,
  levels: tuple[float, ...],
  rate: float = 0.1,
) -> tuple[TrackedQuantiles, jax.Array]:
  """The state after a batch, and the quantiles `[levels]` that hold for this batch.

  These are what the earlier batches left, and for the first batch its own. Afterwards each moves by
  `rate` times its level less the share of samples strictly below it; the first batch only sets it.

  Args:
    state: from `quantiles_init` or the last call.
    samples: any shape.
    where: the same shape, 1 on real samples; None means all. Without any the state stays.
    levels: in (0, 1), as in `quantiles_init`.
    rate: step size.

  Source: arXiv 2510.00911 and the authors' ray_trainer.py. That stores what it tracks where the
  next batch does not find it, so it seems to use each bundle's own quantiles; this follows what is
  meant.
  """
  own, real = empirical_quantiles(samples, levels, where), stats.is_real(samples, where)
  q = jnp.where(state.started, state.quantiles, own)
  below = stats.as_float(samples)[..., None] < q.reshape((1,) * samples.ndim + (-1,))
  share = jnp.stack([stats.mean(below[..., i], real) for i in range(len(levels))])
  moved = q + rate * (jnp.asarray(levels, q.dtype) - share)
  any_real = jnp.any(real)
  quantiles = jnp.where(state.started & any_real, moved, q)
  return TrackedQuantiles(quantiles, state.started | any_real), q


def empirical_quantiles(
  samples: jax.Array, levels: tuple[float, ...], where: jax.Array | None = None
) -> jax.Array:
  """Quantiles of all real samples, linear between neighbours, `[levels]`; 0 where there are none.

  >>> empirical_quantiles(jnp.array([3.0, 1.0, 2.0]), (0.25, 1.0))
  Array([1.5, 3. ], dtype=float32)
  """
  real = stats.is_real(samples, where).reshape(-1)
  ordered = jnp.sort(jnp.where(real, stats.as_float(samples).reshape(-1), jnp.inf))
  ordered = jnp.where(jnp.isinf(ordered), 0, ordered)  # what is not real came last
  place = jnp.maximum(jnp.sum(real) - 1, 0) * jnp.asarray(levels, ordered.dtype)
  left = jnp.floor(place).astype(jnp.int32)
  right = jnp.ceil(place).astype(jnp.int32)
  return ordered[left] + (place - left) * (ordered[right] - ordered[left])


def _parts(scores, low, high):
  """Tail and body of the scores, both at most 0."""
  scores = stats.as_float(scores)
  tail = -jnp.maximum(low - scores, 0)
  body = jnp.maximum(scores, low) - jnp.maximum(scores, high)  # exactly 0 above both
  return tail, body


def _mixed(scores, tail, body, where, alpha, beta, omega, eps):
  real = stats.is_real(scores, where)
  mixture = (1 + omega) * tail / (alpha + eps) + body / (beta - alpha + eps)
  several = jnp.sum(real, axis=-1, keepdims=True) > 1
  deviation = stats.std(scores, real, axis=-1, keepdims=True, ddof=1)
  deviation = jnp.where(several, deviation, 1)
  return jnp.where(real, mixture / (2 + omega) / (deviation + eps), 0)


def _total(x, bundle):
  """Sum over the prompts of each bundle, `[P, ...]` by bundle."""
  return jax.ops.segment_sum(x, bundle, num_segments=x.shape[0])
