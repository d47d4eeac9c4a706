"""Terms that many methods share.

A term whose coefficient is 0 is a metric: it is evaluated like any other and adds nothing to the
loss.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from rljax import divergences, ratios, surrogates
from rljax.methods.reading import reference, trained
from rljax.types import Batch, Scores, Term


def policy_terms(
  ratio: Callable[[Scores, Batch], jax.Array],
  low: float,
  high: float,
  weights: Callable[[Batch], jax.Array],
) -> dict[str, Term]:
  """`policy`, PPO's clipped loss of any ratio, and `clip_fraction`, the share of tokens cut off.

  Args:
    ratio: `(scores, batch) -> [*N, T]` or `[*N, 1]`.
    low: clip range below 1.
    high: clip range above 1.
    weights: the aggregation.
  """

  def policy(scores, batch):
    loss = surrogates.clipped(ratio(scores, batch), batch.advantages, low, high)
    return jnp.broadcast_to(loss, scores.logp.shape)

  def cut(scores, batch):
    r = jax.lax.stop_gradient(ratio(scores, batch))
    return jnp.broadcast_to(
      surrogates.clip_fraction(r, batch.advantages, low, high), scores.logp.shape
    )

  return {'policy': Term(policy, weights), 'clip_fraction': Term(cut, weights, 0.0)}


def token_ratio(scores: Scores, batch: Batch) -> jax.Array:
  """Ratio of each token to the policy that the update started from, `[*N, T]`."""
  return ratios.token(trained(scores.logp, batch), trained(batch.old_logp, batch))


def kl_to_reference(
  weights: Callable[[Batch], jax.Array],
  coef: float,
  estimator: Callable[[jax.Array, jax.Array], jax.Array] = divergences.k3,
) -> Term:
  """A KL penalty in the loss; `estimator(logp, ref_logp) -> [*N, T]` from `rljax.divergences`.

  As a loss k1 has mean gradient 0 and k3 that of KL(reference, policy); `k1_plus` and `k3_plus`
  have the gradient of KL(policy, reference).
  """

  def value(scores, batch):
    return estimator(trained(scores.logp, batch), trained(reference(batch), batch))

  return Term(value, weights, coef)


def entropy_bonus(weights: Callable[[Batch], jax.Array], coef: float) -> Term:
  """A bonus of `coef` times the mean entropy of the policy, in nats."""
  return Term(lambda scores, batch: -scores.entropy, weights, coef)
