"""GRPO-Guard, adapted to tokens."""

from __future__ import annotations

import jax.numpy as jnp

from rljax import advantages, aggregation, ratios, surrogates
from rljax.groups import per_group
from rljax.methods.combinators import stateless
from rljax.methods.reading import log_ratio, tokens
from rljax.types import Method, Term


def grpo_guard(
  *, max_length: int, buckets: int = 8, clip_low: float = 0.2, clip_high: float = 0.2
) -> Method:
  """GRPO whose log-ratios have mean 0 and one deviation in every stretch of positions before the
  clip; the loss of a stretch is scaled back by what its log-ratios were divided by.

  An adaptation: the source normalises denoising steps of an image model, by the closed form of
  their mean and deviation; here both are measured, on all tokens of an optimizer step.

  Args:
    max_length: the run's longest completion, in tokens.
    buckets: stretches of positions that it is divided into; no source has a number.
    clip_low: clip range of the normalised ratio below 1.
    clip_high: clip range above 1.

  Source: the ratio's normalisation and the gradient's reweighting of arXiv 2510.22319.
  """

  def prepare(batch):
    return batch.replace(advantages=per_group(advantages.grpo, batch)(batch.rewards)[..., None])

  def bucket(batch):
    return surrogates.position_bucket(batch.mask, buckets=buckets, max_length=max_length)

  def measure(state, scores, batch):
    center, scale = surrogates.bucket_moments(
      log_ratio(scores, batch), bucket(batch), tokens(batch), buckets=buckets
    )
    found = {'guard_center': center, 'guard_scale': scale}
    return state, batch.replace(constants={**batch.constants, **found})

  def ratio(scores, batch):
    regulated = surrogates.regulated(
      log_ratio(scores, batch),
      bucket(batch),
      batch.constants['guard_center'],
      batch.constants['guard_scale'],
    )
    return ratios.token(regulated, jnp.zeros_like(regulated))

  def policy(scores, batch):
    loss = surrogates.clipped(ratio(scores, batch), batch.advantages, clip_low, clip_high)
    return loss * batch.constants['guard_scale'][bucket(batch)]

  def cut(scores, batch):
    return surrogates.clip_fraction(ratio(scores, batch), batch.advantages, clip_low, clip_high)

  weights = aggregation.sequence_mean
  return stateless(
    prepare, policy=Term(policy, weights), clip_fraction=Term(cut, weights, 0.0)
  )._replace(measure=measure)
