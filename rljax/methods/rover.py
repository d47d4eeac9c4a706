"""ROVER."""

from __future__ import annotations

from collections.abc import Callable

import jax

from rljax import advantages, aggregation, surrogates, vocabulary
from rljax.groups import per_group
from rljax.methods.combinators import stateless
from rljax.methods.reading import extra, statistic, trained
from rljax.types import Method, Term


def rover(
  *,
  rho: float = 1.0,
  eta: float = 1.0,
  clip: float | None = None,
  estimate: Callable[..., jax.Array] = advantages.rover,
) -> Method:
  """Random policy valuation: `rho log(policy / old)` regressed on the values of a uniform policy.

  The target is the reward and one Bellman step: the mean over the vocabulary at the next position.
  On batches that are used more than once that step reads
  `batch.extras['old_mean_logp']`, `vocabulary.mean_logp` of the old policy.

  Args:
    rho: scale of the log-ratio as a value.
    eta: weight of the value of what follows.
    clip: where the value stops following its target, a distance of the ratio from 1; None: nowhere.
    estimate: the reward of a token from those of its group, `(rewards, where) -> [..., G]`; the
      authors' recipe for mathematics has `advantages.grpo`.

  Source: arXiv 2509.24981; rewards are centred only, as in the paper and the authors' Countdown
  code.
  """

  def prepare(batch):
    return batch.replace(advantages=per_group(estimate, batch)(batch.rewards)[..., None])

  def value(scores, batch):
    logp, old_logp, old_mean = trained(scores.logp, batch), None, None
    if batch.old_logp is not None:
      meaning = 'the mean log-probability of the vocabulary before the update'
      old_logp = trained(batch.old_logp, batch)
      old_mean = extra(batch, 'old_mean_logp', meaning)
    target = surrogates.rover_target(
      batch.advantages,
      statistic(scores, batch, 'mean_logp'),
      old_mean,
      batch.mask,
      rho=rho,
      eta=eta,
    )
    if clip is None:
      return surrogates.rover(logp, old_logp, target, rho=rho)
    return surrogates.rover_clipped(logp, old_logp, target, rho=rho, clip=clip)

  return stateless(prepare, policy=Term(value, aggregation.token_mean))._replace(
    statistics={'mean_logp': vocabulary.mean_logp}, reads=('mean_logp',)
  )
