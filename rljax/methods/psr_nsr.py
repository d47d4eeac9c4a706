"""PSR, NSR and W-REINFORCE: the two halves of REINFORCE on 0/1 rewards, and their blend."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import advantages, aggregation, stats
from rljax.methods import reading
from rljax.methods.combinators import stateless, with_keep
from rljax.methods.terms import policy_terms, token_ratio
from rljax.types import Batch, Method


def w_reinforce(*, right: float = 0.1, clip_low: float = 0.2, clip_high: float = 0.2) -> Method:
  """Weighted REINFORCE: advantage `right` for right answers, -1 for wrong ones, no baseline.

  Right is `extras['correct']` (else the reward) of exactly 1 in a completion that was not
  truncated; every other answer is wrong.

  Args:
    right: advantage of a right answer.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.

  Source: arXiv 2506.01347. The paper's objective is REINFORCE; the authors' code, and this, put it
  through PPO's clipped ratio.
  """

  def prepare(batch):
    return batch.replace(advantages=advantages.signed(_correct(batch), right=right)[..., None])

  return stateless(
    prepare, **policy_terms(token_ratio, clip_low, clip_high, aggregation.token_mean)
  )


def psr(*, clip_low: float = 0.2, clip_high: float = 0.2) -> Method:
  """Positive sample reinforcement: right answers alone, with advantage 1.

  Wrong ones are left out of the token mean as well. Args and source as in `w_reinforce`.
  """
  return with_keep(_correct, w_reinforce(right=1.0, clip_low=clip_low, clip_high=clip_high))


def nsr(*, clip_low: float = 0.2, clip_high: float = 0.2) -> Method:
  """Negative sample reinforcement: wrong answers alone, with advantage -1.

  Right ones are left out of the token mean as well. Args and source as in `w_reinforce`.
  """
  method = w_reinforce(clip_low=clip_low, clip_high=clip_high)
  return with_keep(lambda batch: 1 - _correct(batch), method)


def _correct(batch: Batch) -> jax.Array:
  """1 on right answers, `[*N]`; a truncated one has no result and is wrong."""
  correct = stats.as_float(reading.correct(batch))
  right = (correct == 1).astype(correct.dtype)
  return right if batch.truncated is None else jnp.where(batch.truncated > 0, 0, right)
