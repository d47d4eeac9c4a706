"""DGPO."""

from __future__ import annotations

from functools import partial

from rljax import advantages, aggregation
from rljax.groups import per_group
from rljax.methods.combinators import stateless
from rljax.methods.reading import correct, tokens
from rljax.methods.terms import policy_terms, token_ratio
from rljax.types import Method


def dgpo(
  *, tau: float = 2.0, clip_low: float = 0.2, clip_high: float = 0.2, eps: float = 1e-4
) -> Method:
  """Difficulty-aware group policy optimisation: the same pull from every prompt, times a weight.

  Centred rewards over the group's mean absolute deviation, more from prompts that are answered
  less often, and the mean over the tokens of groups with unequal rewards. Accuracy is
  `extras['correct']`, else the rewards.

  Args:
    tau: temperature of the weights of the prompts.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.
    eps: added to the sum of the group's absolute deviations.

  Source: arXiv 2601.20614; follows the authors' grpo_trainer.py, without the factor that only
  undoes a mean per device.
  """
  estimate = partial(advantages.dgpo, tau=tau, eps=eps)

  def prepare(batch):
    lengths = tokens(batch).sum(-1)
    weighed = per_group(estimate, batch)(batch.rewards, correct(batch), lengths)
    return batch.replace(advantages=weighed[..., None])

  return stateless(
    prepare, **policy_terms(token_ratio, clip_low, clip_high, aggregation.token_mean)
  )
