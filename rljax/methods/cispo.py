"""CISPO."""

from __future__ import annotations

from rljax import advantages, aggregation, surrogates
from rljax.groups import per_group
from rljax.methods.combinators import stateless
from rljax.methods.reading import trained
from rljax.methods.terms import token_ratio
from rljax.types import Method, Term


def cispo(*, low: float = 0.0, high: float = 5.0) -> Method:
  """Clipped importance weights on the log-likelihood: no token loses its gradient.

  Args:
    low: least weight of a token; 0 is no bound.
    high: largest weight.

  Source: arXiv 2506.13585, which gives no bounds; `high` is that of arXiv 2510.13786.
  """

  def prepare(batch):
    return batch.replace(advantages=per_group(advantages.grpo, batch)(batch.rewards)[..., None])

  def policy(scores, batch):
    logp, ratio = trained(scores.logp, batch), token_ratio(scores, batch)
    return surrogates.cispo(logp, ratio, batch.advantages, low=low, high=high)

  def cut(scores, batch):
    ratio = token_ratio(scores, batch)
    return ((ratio < low) | (ratio > high)).astype(ratio.dtype)

  return stateless(
    prepare,
    policy=Term(policy, aggregation.token_mean),
    clip_fraction=Term(cut, aggregation.token_mean, 0.0),
  )
