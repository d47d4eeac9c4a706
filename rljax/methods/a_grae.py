"""A-GRAE."""

from __future__ import annotations

from collections.abc import Callable

import jax

from rljax import advantages, aggregation, stats
from rljax.groups import per_group
from rljax.methods.combinators import stateless
from rljax.methods.reading import correct, kept
from rljax.methods.terms import policy_terms, token_ratio
from rljax.types import Method


def a_grae(
  *,
  alpha: float = 1.0,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  eps: float = 1e-6,
  ddof: int = 1,
  estimate: Callable[..., jax.Array] = advantages.a_grae,
) -> Method:
  """Asymmetric group relative advantage estimation in GRPO: from easy to hard prompts over time.

  Success is `extras['correct']`, else the rewards, which must then lie in [0, 1]; that of the batch
  is the mean over the sequences that are kept.

  Args:
    alpha: success rate of the batch from which positive advantages count in full; the authors take
      0.5 for Geo3k and medical data.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.
    eps: added to the group's deviation.
    ddof: 1 for the unbiased deviation.
    estimate: `advantages.a_grae`, the paper's, or `advantages.a_grae_released`, the code's.

  Source: arXiv 2602.05548; paper and code differ in one term and the paper is followed.
  """

  def prepare(batch):
    success = correct(batch)
    omega = stats.mean(success, kept(batch))

    def reweighted(rewards, success, where=None):
      return estimate(rewards, where, success=success, omega=omega, alpha=alpha, eps=eps, ddof=ddof)

    found = per_group(reweighted, batch)(batch.rewards, success)
    return batch.replace(advantages=found[..., None])

  return stateless(
    prepare, **policy_terms(token_ratio, clip_low, clip_high, aggregation.sequence_mean)
  )
