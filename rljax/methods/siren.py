"""SIREN."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from rljax import advantages, aggregation, token_weights, vocabulary
from rljax.groups import per_group
from rljax.methods.combinators import inner_draws, plus, stateless
from rljax.methods.reading import extra, linear, statistic, trained
from rljax.methods.terms import policy_terms, token_ratio
from rljax.types import Method, Term

_NONE = -1.0  # no entropy is negative


def siren(
  *,
  max_length: int,
  coef: float = 0.005,
  anchor: float | None = None,
  level: float = 0.8,
  entropy: Callable[[jax.Array, jax.Array], jax.Array] = vocabulary.nucleus_entropy,
  clip_low: float = 0.28,
  clip_high: float = 0.28,
) -> Method:
  """Dr. GRPO with selective entropy regularisation (`with_siren`).

  Args:
    max_length: the run's longest completion, in tokens.
    coef: as in `with_siren`, like `anchor`, `level` and `entropy`.
    anchor: the entropy to keep; None: that of the first batch.
    level: quantile above which a token is a peak.
    entropy: the statistic of the vocabulary.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.

  Source: arXiv 2509.25133; advantages, clip range and constant length of the authors' siren.sh.
  """

  def prepare(batch):
    return batch.replace(advantages=per_group(advantages.center, batch)(batch.rewards)[..., None])

  terms = policy_terms(token_ratio, clip_low, clip_high, aggregation.constant(max_length))
  method = stateless(prepare, **terms)
  return with_siren(method, coef=coef, anchor=anchor, level=level, entropy=entropy)


def with_siren(
  method: Method,
  *,
  coef: float = 0.005,
  anchor: float | None = None,
  level: float = 0.8,
  entropy: Callable[[jax.Array, jax.Array], jax.Array] = vocabulary.nucleus_entropy,
) -> Method:
  """The method, plus `coef` times the squared distance of the entropy at its peaks to an anchor.

  The entropy is that of the likeliest words only, averaged over the peaks of each sequence (its
  tokens strictly above its own quantile) and over the sequences that have any. The anchor is the
  average of the first rollout batch before its first update, and stays.

  Without `anchor` it reads `batch.extras['old_nucleus_entropy']`, `entropy` before the update, of
  which the first batch's counts.

  Args:
    method: any method.
    coef: weight of the term.
    anchor: the entropy to keep, in nats.
    level: quantile above which a token is a peak.
    entropy: `vocabulary.nucleus_entropy` or `closed_nucleus_entropy`, others bound by partial.

  Source: arXiv 2509.25133. The authors' dp_actor.py squares the distance of each microbatch; this
  that of the whole optimizer step.
  """

  def init():
    start = jnp.full((), _NONE if anchor is None else anchor, jnp.float32)
    return {'anchor': start, 'inner': method.init()}

  def average(x, batch):
    """Peaks `[*N, T]`, and the average entropy there."""
    peaks = token_weights.peaks(x, batch.mask, level=level)
    return peaks, jnp.sum(weights(batch, peaks) * jax.lax.stop_gradient(x))

  def weights(batch, peaks):
    return aggregation.sequence_mean(batch.replace(mask=peaks))

  def prepare(state, batch):
    inner, batch = method.prepare(state['inner'], batch)
    if anchor is not None:
      return {**state, 'inner': inner}, batch
    meaning = 'the entropy of the likeliest words at every token before the update'
    peaks, found = average(trained(extra(batch, 'old_nucleus_entropy', meaning), batch), batch)
    first = (state['anchor'] < 0) & jnp.any(weights(batch, peaks) > 0)
    return {'anchor': jnp.where(first, found, state['anchor']), 'inner': inner}, batch

  def measure(state, scores, batch):
    if method.measure is not None:
      inner, batch = method.measure(state['inner'], scores, batch)
      state = {**state, 'inner': inner}
    peaks, found = average(statistic(scores, batch, 'nucleus_entropy'), batch)
    gap = jnp.where(state['anchor'] < 0, 0.0, found - state['anchor'])
    return state, batch.replace(
      constants={**batch.constants, 'entropy_gap': gap},
      extras={**batch.extras, 'entropy_peaks': peaks},
    )

  def anchored(scores, batch):
    gap = batch.constants['entropy_gap']
    return linear(gap**2, 2 * gap, statistic(scores, batch, 'nucleus_entropy'))

  term = Term(anchored, lambda batch: weights(batch, batch.extras['entropy_peaks']), coef)
  return plus(method, anchored_entropy=term)._replace(
    init=init,
    prepare=prepare,
    draws=inner_draws(method),
    measure=measure,
    statistics={**method.statistics, 'nucleus_entropy': entropy},
    reads=method.reads if anchor is not None else (*method.reads, 'nucleus_entropy'),
  )
