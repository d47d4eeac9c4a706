"""GRPO and Dr. GRPO."""

from __future__ import annotations

from functools import partial

from rljax import advantages, aggregation
from rljax.groups import per_group
from rljax.methods.combinators import stateless
from rljax.methods.terms import policy_terms, token_ratio
from rljax.types import Method


def grpo(
  *, clip_low: float = 0.2, clip_high: float = 0.2, eps: float = 1e-6, ddof: int = 1
) -> Method:
  """Group relative policy optimisation: rewards standardised in each group, mean over each
  sequence.

  The paper's KL penalty is a term of its own (`kl_to_reference`).

  Args:
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.
    eps: added to the group's deviation.
    ddof: 1 for the unbiased deviation.

  Source: arXiv 2402.03300; ddof and eps, which the paper leaves open, follow verl.
  """
  estimate = partial(advantages.grpo, eps=eps, ddof=ddof)

  def prepare(batch):
    return batch.replace(advantages=per_group(estimate, batch)(batch.rewards)[..., None])

  terms = policy_terms(token_ratio, clip_low, clip_high, aggregation.sequence_mean)
  return stateless(prepare, **terms)


def dr_grpo(*, max_length: int, clip_low: float = 0.2, clip_high: float = 0.2) -> Method:
  """GRPO done right: centred rewards, and token sums divided by a constant length.

  Args:
    max_length: the run's longest completion, in tokens.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.

  Source: arXiv 2503.20783. verl does not divide by the number of sequences; the paper and this do.
  """

  def prepare(batch):
    return batch.replace(advantages=per_group(advantages.center, batch)(batch.rewards)[..., None])

  terms = policy_terms(token_ratio, clip_low, clip_high, aggregation.constant(max_length))
  return stateless(prepare, **terms)
