"""A bound on how far an update moves the policy."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from rljax import aggregation, divergences, stats
from rljax.methods.combinators import plus
from rljax.methods.reading import tokens, trained
from rljax.types import Method, Term


def with_kl_bound(
  method: Method,
  *,
  delta: float = 1e-4,
  beta: float = 1e3,
  estimator: Callable[[jax.Array, jax.Array], jax.Array] = divergences.k1,
) -> Method:
  """The method plus `beta / 2 * max(K - delta, 0) ** 2`, with K the mean KL(old, new) of a token.

  K is measured on the whole step, which costs a forward pass; an estimate below `delta`, a negative
  one too, costs nothing. The term is called `kl_bound`. Without `old_logp`, K is 0.

  Args:
    method: any method.
    delta: nats a token that cost nothing.
    beta: strength.
    estimator: `(old_logp, logp) -> [*N, T]` from `rljax.divergences`; with `divergences.k3`, K is
      the mean of `ratio - 1 - log ratio`, never negative.

  Source: arXiv 2505.12366. The gradient is that of the authors' code, `beta * excess` times that of
  K; it belongs to `beta / 2` times the squared excess, not to `beta` times.
  """

  def kl(scores, batch):
    logp = trained(scores.logp, batch)
    old_logp = jax.lax.stop_gradient(logp) if batch.old_logp is None else batch.old_logp
    return estimator(trained(old_logp, batch), logp)

  def measure(state, scores, batch):
    if method.measure is not None:
      state, batch = method.measure(state, scores, batch)
    found = stats.mean(kl(scores, batch), tokens(batch))
    excess = jnp.maximum(found - delta, 0.0)
    return state, batch.replace(constants={**batch.constants, 'kl_excess': excess})

  def bound(scores, batch):
    excess, found = batch.constants['kl_excess'], kl(scores, batch)
    change = found - jax.lax.stop_gradient(found)  # 0, with the gradient of the estimate
    return beta * excess * (excess / 2 + change)

  method = plus(method, kl_bound=Term(bound, aggregation.token_mean))
  return method._replace(measure=measure)
