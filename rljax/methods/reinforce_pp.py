"""REINFORCE++, without and with a baseline."""

from __future__ import annotations

from rljax import advantages, aggregation
from rljax.groups import per_group
from rljax.methods.combinators import stateless
from rljax.methods.reading import token_rewards, tokens
from rljax.methods.terms import policy_terms, token_ratio
from rljax.types import Method


def reinforce_pp(
  *,
  kl_coef: float = 0.0,
  gamma: float = 1.0,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
) -> Method:
  """REINFORCE++: discounted reward-to-go of each token, standardised over the whole batch; no
  groups.

  The KL penalty is part of the token rewards, where the k1 estimate is the right one.

  Args:
    kl_coef: weight of the KL penalty; above 0 the batch needs `ref_logp`.
    gamma: discount a trained token.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.

  Source: arXiv 2501.03262; follows verl's compute_reinforce_plus_plus_outcome_advantage.
  """

  def prepare(batch):
    rewards = token_rewards(batch, kl_coef)
    estimate = advantages.reinforce_pp(rewards, tokens(batch), gamma=gamma)
    return batch.replace(advantages=estimate)

  return stateless(
    prepare, **policy_terms(token_ratio, clip_low, clip_high, aggregation.token_mean)
  )


def reinforce_pp_baseline(*, clip_low: float = 0.2, clip_high: float = 0.2) -> Method:
  """REINFORCE++-baseline: rewards centred in their group, standardised over the batch's tokens.

  Args:
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.

  Source: arXiv 2501.03262; follows verl's compute_reinforce_plus_plus_baseline_outcome_advantage,
  save that a group of one is centred to 0.
  """

  def prepare(batch):
    centred = per_group(advantages.center, batch)(batch.rewards)
    return batch.replace(advantages=advantages.whiten_tokens(centred, tokens(batch)))

  return stateless(
    prepare, **policy_terms(token_ratio, clip_low, clip_high, aggregation.token_mean)
  )
