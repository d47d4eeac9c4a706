"""PPO."""

from __future__ import annotations

import jax.numpy as jnp

from rljax import advantages, aggregation, stats, surrogates
from rljax.methods.combinators import stateless
from rljax.methods.reading import extra, token_rewards, tokens, trained
from rljax.methods.terms import policy_terms, token_ratio
from rljax.types import Batch, Method, Scores, Term


def ppo(
  *,
  kl_coef: float = 0.0,
  gamma: float = 1.0,
  lam: float = 1.0,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  value_clip: float = 0.5,
) -> Method:
  """Proximal policy optimisation: advantages against a value model, standardised over the batch.

  The value model is trained beside the policy, by the method's `critic`; what it says of the batch
  before the update is read from `batch.extras['old_values']` `[*N, T]`. What it should have said is
  left in `extras['returns']`, and the share of their variance that it did say, the term
  `explained_variance`, is of the whole rollout.

  Args:
    kl_coef: weight of a KL penalty (k1) in the token rewards; above 0 the batch needs `ref_logp`.
    gamma: discount a trained token.
    lam: of generalised advantage estimation.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.
    value_clip: how far a value may move from the old one and still have a gradient towards the
      return; 0: any distance, the plain squared error.

  Source: arXiv 1707.06347 and 1506.02438; follows verl's compute_gae_advantage_return,
  compute_value_loss and defaults, where both losses are means over tokens.
  """

  def prepare(batch):
    rewards = token_rewards(batch, kl_coef)
    before = _old_values(batch)
    estimate, returns = advantages.gae(rewards, before, batch.mask, gamma=gamma, lam=lam)
    explained = stats.explained_variance(returns, before, tokens(batch))
    return batch.replace(
      advantages=advantages.whiten(estimate, tokens(batch)),
      extras={**batch.extras, 'returns': returns},
      constants={**batch.constants, 'explained_variance': explained},
    )

  def value(scores, batch):
    now, before, returns = (
      trained(x, batch) for x in (_values(scores), _old_values(batch), batch.extras['returns'])
    )
    if not value_clip:
      return surrogates.squared_value(now, returns)
    return surrogates.clipped_value(now, before, returns, clip=value_clip)

  def explained_variance(scores, batch):
    return jnp.full_like(batch.mask, batch.constants['explained_variance'])

  terms = policy_terms(token_ratio, clip_low, clip_high, aggregation.token_mean)
  return stateless(prepare, **terms)._replace(
    critic={
      'value': Term(value, aggregation.token_mean),
      'explained_variance': Term(explained_variance, aggregation.token_mean, 0.0),
    }
  )


def _old_values(batch: Batch):
  return extra(batch, 'old_values', "a value model's before the update, from training.make_value")


def _values(scores: Scores):
  if scores.values is None:
    raise ValueError(
      "The critic's loss reads scores.values, which is None. It is no term of the policy: train a "
      'value model with it, by training.make_critic_step.'
    )
  return scores.values
