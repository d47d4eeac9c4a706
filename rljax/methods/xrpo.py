"""XRPO's novelty-guided advantage sharpening."""

from __future__ import annotations

import jax.numpy as jnp

from rljax import advantages, stats
from rljax.groups import per_group
from rljax.methods.grpo import grpo
from rljax.methods.reading import sampled_logp
from rljax.types import Method


def xrpo(
  *,
  lam: float = 1.0,
  kappa: float = 1.0,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
) -> Method:
  """GRPO in which right answers that are unlikely for their group count more.

  The paper's allocation of rollouts and its seeding of prompts are the sampler's part; groups may
  differ in size (rows).

  Args:
    lam: strength.
    kappa: the largest raise, as a share of the advantage.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.

  Source: arXiv 2510.06672; see `advantages.sharpen` for what is open.
  """
  return with_novelty(grpo(clip_low=clip_low, clip_high=clip_high), lam=lam, kappa=kappa)


def with_novelty(method: Method, *, lam: float = 1.0, kappa: float = 1.0) -> Method:
  """The method with `advantages.sharpen` after its advantages.

  Likelihoods are of `old_logp`, else of the sampler's. Completions without a trained token have
  none: they are not in their group's mean.
  """

  def novelty(score, counts, where=None):
    return advantages.novelty(score, counts if where is None else counts * where)

  def prepare(state, batch):
    state, batch = method.prepare(state, batch)
    score = stats.mean(sampled_logp(batch), batch.mask, axis=-1)
    counts = (batch.lengths > 0).astype(score.dtype)
    found = per_group(novelty, batch)(score, counts)
    found = jnp.broadcast_to(found[..., None], batch.advantages.shape)
    sharper = advantages.sharpen(batch.advantages, found, lam=lam, kappa=kappa)
    return state, batch.replace(advantages=sharper)

  return method._replace(prepare=prepare, reads=tuple(dict.fromkeys((*method.reads, 'logp'))))
