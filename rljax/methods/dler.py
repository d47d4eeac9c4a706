"""DLER: hard truncation, batch-wise scale; as released; and with limits by difficulty."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp

from rljax import advantages, aggregation, selection, shaping
from rljax.groups import per_group
from rljax.methods.combinators import stateless
from rljax.methods.reading import correct, kept, tokens, truncated
from rljax.methods.terms import policy_terms, token_ratio
from rljax.types import Method


def dler(
  *,
  clip_low: float = 0.2,
  clip_high: float = 0.28,
  normalise: Callable[[jax.Array, jax.Array], jax.Array] = advantages.whiten_tokens,
) -> Method:
  """Doing length penalty right: truncation is the only one, and the scale is that of the batch.

  A truncated completion has reward 0. Prompts that are then all right or all wrong are left out;
  drawing new ones in their place is the loop's part. What remains is centred in its group and
  standardised over the batch. The selection reads correctness (`extras['correct']`, else the
  rewards), of which truncation takes as much.

  Args:
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.
    normalise: `(centred [*N], tokens [*N, T]) -> [*N, T]`: `advantages.whiten_tokens`, or
      `advantages.whiten_sequences` to count each sequence once.
  Raises:
    ValueError: while tracing, if `batch.truncated` is None.

  Source: arXiv 2510.15110, equations 1 to 3. Equation 3 does not say what it averages over; its
  indices are read as tokens. A completion is as long as the sampler lets it be (4000 tokens there).
  `dler_release` is what the released code does.
  """

  def prepare(batch):
    right = shaping.zero_truncated(correct(batch), truncated(batch))
    batch = batch.replace(
      rewards=shaping.zero_truncated(batch.rewards, truncated(batch)),
      keep=kept(batch) * per_group(selection.mixed, batch)(right),
    )
    centred = per_group(advantages.center, batch)(batch.rewards)
    return batch.replace(advantages=normalise(centred, tokens(batch)))

  return stateless(
    prepare, **policy_terms(token_ratio, clip_low, clip_high, aggregation.token_mean)
  )


def dler_release(
  *,
  truncation_factor: float = 0.1,
  advantage_boost: float = 0.1,
  clip_low: float = 0.2,
  clip_high: float = 0.28,
) -> Method:
  """`dler` as released: truncation leaves a tenth of the reward, right answers get a bonus.

  Prompts are left out by their correctness before truncation takes of it, so a prompt stays whose
  right answers are all truncated. Mean and deviation are over the tokens of the batch, a group of
  one goes in with its raw reward, and right answers, truncated or not, gain `advantage_boost`
  afterwards.

  Args:
    truncation_factor: what a truncated completion keeps of its reward.
    advantage_boost: 0.1 in one of the two released scripts, 0 in the other.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.
  Raises:
    ValueError: while tracing, if `batch.truncated` is None.

  Source: the released code of arXiv 2510.15110 (verl-dler). Its scripts add a dual clip at 10 and a
  KL loss of 0.0005 (`kl_to_reference`), which are not part of this.
  """

  def prepare(batch):
    right = correct(batch)
    batch = batch.replace(
      rewards=shaping.scale_truncated(batch.rewards, truncated(batch), factor=truncation_factor),
      keep=kept(batch) * per_group(selection.mixed, batch)(right),
    )
    centred = per_group(_center, batch)(batch.rewards)
    whitened = advantages.whiten_tokens(centred, tokens(batch))
    return batch.replace(advantages=advantages.boost(whitened, right, bonus=advantage_boost))

  return stateless(
    prepare, **policy_terms(token_ratio, clip_low, clip_high, aggregation.token_mean)
  )


def da_dler(
  *,
  max_length: int,
  thresholds: Sequence[float] = (0.5,),
  shares: Sequence[float] = (1.0, 0.5),
  clip_low: float = 0.2,
  clip_high: float = 0.28,
  normalise: Callable[[jax.Array, jax.Array], jax.Array] = advantages.whiten_tokens,
) -> Method:
  """Difficulty-aware `dler`: the more of a prompt's answers are right, the shorter they must be.

  An answer beyond the limit of its prompt counts as truncated. Those that the sampler truncated
  are wrong, also for the share of right answers that sets the limit.

  Args:
    max_length: the run's longest completion, in tokens; 4000 in the paper.
    thresholds: shares of right answers, rising.
    shares: of `max_length`, one more than thresholds: in whole tokens the limit where none is
      reached, where one is, and so on.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.
    normalise: as in `dler`.
  Raises:
    ValueError: shares that are not one more than thresholds; or if `batch.truncated` is None.

  Source: arXiv 2510.15110, section 3.5, which trains so from where DLER ended. The side of a share
  of exactly a threshold is ours (`shaping.da_dler_limits`).
  """
  limits = [round(share * max_length) for share in shares]
  limit = partial(shaping.da_dler_limits, thresholds=thresholds, limits=limits)
  inner = dler(clip_low=clip_low, clip_high=clip_high, normalise=normalise)

  def prepare(state, batch):
    cut = truncated(batch)
    limits = per_group(limit, batch)(shaping.zero_truncated(correct(batch), cut))
    beyond = (batch.lengths > limits).astype(cut.dtype)
    return inner.prepare(state, batch.replace(truncated=jnp.maximum(cut, beyond)))

  return inner._replace(prepare=prepare)


def _center(rewards, where=None):
  return advantages.raw_if_alone(advantages.center(rewards, where), rewards, where)
