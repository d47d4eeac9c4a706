"""Lite PPO."""

from __future__ import annotations

from rljax import advantages, aggregation
from rljax.groups import per_group
from rljax.methods.combinators import stateless
from rljax.methods.reading import kept
from rljax.methods.terms import policy_terms, token_ratio
from rljax.types import Method


def lite_ppo(
  *, clip_low: float = 0.2, clip_high: float = 0.2, eps: float = 1e-4, ddof: int = 1
) -> Method:
  """Rewards centred in their group over the deviation of all rewards of the batch; token mean.

  Args:
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.
    eps: added to the batch's deviation.
    ddof: 1 for the unbiased deviation.

  Source: arXiv 2508.08221, whose ddof and eps were not seen; these are TRL's for
  `scale_rewards="batch"`.
  """

  def prepare(batch):
    centred = per_group(advantages.center, batch)(batch.rewards)
    scaled = advantages.over_batch_std(centred, batch.rewards, kept(batch), eps=eps, ddof=ddof)
    return batch.replace(advantages=scaled[..., None])

  return stateless(
    prepare, **policy_terms(token_ratio, clip_low, clip_high, aggregation.token_mean)
  )
