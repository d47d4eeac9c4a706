"""RiskPO."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from rljax import advantages, aggregation, ratios, stats
from rljax.groups import from_table, to_table
from rljax.methods.terms import policy_terms
from rljax.types import Method

_FLAT = 1e-3


def riskpo(
  *,
  bundle_size: int = 5,
  alpha: float = 0.2,
  beta: float = 0.8,
  omega: float = 0.5,
  rate: float = 0.1,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  eps: float = 1e-6,
  score: Callable[..., jax.Array] = advantages.risk,
  credit: Callable[..., jax.Array] = advantages.deviation_credit,
) -> Method:
  """Risk-based policy optimisation: prompts are scored in bundles, and the lower tail counts more.

  Bundles are consecutive prompts (by group id), a shorter one at the end; the j-th responses of a
  bundle make one score, so a batch should hold its prompts in random order. The quantiles that
  scores are held against are tracked over batches and are the method's state.

  A bundle whose scores deviate by less than 1e-3 gets 0: the formula would divide by `eps` alone
  where the tracked quantiles lie above it, and 1e6 is no advantage to train with.

  Args:
    bundle_size: prompts in a bundle.
    alpha: level of the lower quantile.
    beta: level of the upper one; the authors' script for MATH has 0.9.
    omega: additional weight of the tail below the lower quantile.
    rate: step size of the tracked quantiles.
    clip_low: clip range of the sequence's ratio below 1.
    clip_high: clip range above 1.
    eps: division guard.
    score: `advantages.risk`, never positive, or `advantages.risk_two_signed`.
    credit: what a response gets of its score's advantage, `(advantages, rewards, bundle, where)`:
      `advantages.deviation_credit`, `uniform_credit` or `share_credit`.

  Source: arXiv 2510.00911. Advantages follow the authors' code, which divides by levels and
  deviations where the paper does not (`riskpo_paper`); the ratio of sequences is the paper's.
  """
  measure = partial(score, alpha=alpha, beta=beta, omega=omega, eps=eps)

  def spread(scores, low, high, where):
    flat = stats.std(scores, where, axis=-1, keepdims=True, ddof=1) <= _FLAT
    several = jnp.sum(where, axis=-1, keepdims=True) > 1
    return jnp.where(flat & several, 0, measure(scores, low, high, where))

  return _riskpo(bundle_size, (alpha, beta), rate, clip_low, clip_high, spread, credit)


def riskpo_paper(
  *,
  bundle_size: int = 5,
  alpha: float = 0.2,
  beta: float = 0.8,
  omega: float = 0.5,
  rate: float = 0.1,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
) -> Method:
  """`riskpo` with the paper's objective: nothing divides, and responses share their score's number.

  Args and source as there.
  """
  measure = partial(advantages.risk_paper, omega=omega)
  return _riskpo(
    bundle_size, (alpha, beta), rate, clip_low, clip_high, measure, advantages.uniform_credit
  )


def _riskpo(bundle_size, levels, rate, clip_low, clip_high, measure, credit):
  def prepare(state, batch):
    rewards, where = _table(batch)
    bundle = jnp.arange(rewards.shape[0]) // bundle_size
    scores, exist = advantages.bundle_scores(rewards, bundle, where)
    state, (low, high) = advantages.quantiles_update(state, scores, exist, levels=levels, rate=rate)
    found = credit(measure(scores, low, high, exist), rewards, bundle, where)
    if batch.group is not None:
      found = from_table(found, batch.group, batch.group_shape)
    return state, batch.replace(advantages=found[..., None])

  def ratio(scores, batch):
    return ratios.sequence(scores.logp, batch.old_logp, batch.mask)

  terms = policy_terms(ratio, clip_low, clip_high, aggregation.sequence_mean)
  return Method(init=lambda: advantages.quantiles_init(levels), prepare=prepare, terms=terms)


def _table(batch):
  """Rewards `[P, G]` and who is real, in both layouts."""
  if batch.group is None:
    return batch.rewards, jnp.ones_like(batch.rewards)
  ones = jnp.ones_like(batch.rewards)
  return tuple(to_table(x, batch.group, batch.group_shape) for x in (batch.rewards, ones))
