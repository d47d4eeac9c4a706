"""RAPO."""

from __future__ import annotations

from functools import partial

from rljax import advantages, aggregation
from rljax.groups import per_group
from rljax.methods.combinators import stateless
from rljax.methods.terms import policy_terms, token_ratio
from rljax.types import Method


def rapo(*, clip_low: float = 0.2, clip_high: float = 0.2, eps: float = 1e-6) -> Method:
  """GRPO whose informative groups are scaled up by the share of those that are not.

  Beside the update it is a way to choose data, which is the loop's part: prompts that are nearly
  always solved are dropped from later epochs (`selection.rapo_prune`, of correctness), and in a
  group that failed throughout one completion is replaced by the prompt's latest success.

  Args:
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.
    eps: added to the group's deviation.

  Source: arXiv 2509.24107, equations 3 and 6, with ddof 0; eps and the mean over each sequence are
  those of GRPO.
  """
  estimate = partial(advantages.grpo, eps=eps, ddof=0)

  def prepare(batch):
    standardised = per_group(estimate, batch)(batch.rewards)
    scaled = per_group(advantages.rapo_scale, batch)(standardised, batch.rewards)
    return batch.replace(advantages=scaled[..., None])

  terms = policy_terms(token_ratio, clip_low, clip_high, aggregation.sequence_mean)
  return stateless(prepare, **terms)
