"""Chi-squared regularisation to the reference."""

from __future__ import annotations

import jax.numpy as jnp

from rljax import aggregation, divergences
from rljax.methods.combinators import plus
from rljax.methods.grpo import grpo
from rljax.methods.reading import linear, reference, trained
from rljax.types import Method, Term

_FLOOR = 1e-4


def chi2(*, coef: float = 0.0008, clip_low: float = 0.2, clip_high: float = 0.2) -> Method:
  """GRPO with the root of the chi-squared divergence to the reference as penalty (`with_chi2`).

  Args:
    coef: weight of the penalty.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.

  Source: arXiv 2403.03185, where the method beside the penalty is PPO with a critic.
  """
  return with_chi2(grpo(clip_low=clip_low, clip_high=clip_high), coef=coef)


def with_chi2(method: Method, *, coef: float = 0.0008) -> Method:
  """The method, plus `coef` times the root of `divergences.chi2`'s mean over sequences.

  The batch needs `ref_logp`. The log-ratio of a sequence is a sum over its tokens, so answers
  should be short. Below a divergence of 1e-4 the penalty is constant and has no gradient.

  Args:
    method: any method.
    coef: weight; in theory it scales with the deviation of rewards under the reference.

  Source: arXiv 2403.03185; the authors' llm_optimization, modeling.py, and its example's weight.
  """

  def parts(scores, batch):
    difference = trained(scores.logp, batch) - trained(reference(batch), batch)
    return divergences.chi2(jnp.sum(difference, axis=-1))

  def measure(state, scores, batch):
    if method.measure is not None:
      state, batch = method.measure(state, scores, batch)
    found = jnp.sum(aggregation.per_sequence(batch) * parts(scores, batch))
    return state, batch.replace(constants={**batch.constants, 'chi2': found})

  def root(scores, batch):
    found = batch.constants['chi2']
    value = jnp.sqrt(jnp.maximum(found, _FLOOR))
    return linear(value, jnp.where(found > _FLOOR, 0.5 / value, 0.0), parts(scores, batch))

  return plus(method, chi2=Term(root, aggregation.per_sequence, coef))._replace(measure=measure)
