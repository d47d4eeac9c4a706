"""GSPO and GSPO-token."""

from __future__ import annotations

from rljax import advantages, aggregation, ratios
from rljax.groups import per_group
from rljax.methods.combinators import stateless
from rljax.methods.terms import policy_terms
from rljax.types import Method


def gspo(*, clip_low: float = 3e-4, clip_high: float = 4e-4) -> Method:
  """Group sequence policy optimisation: one ratio a sequence, clipped as a whole.

  Args:
    clip_low: clip range of the sequence's ratio (a geometric mean over its tokens) below 1.
    clip_high: clip range above 1.

  Source: arXiv 2507.18071; clip ranges of its section 5.1.
  """

  def prepare(batch):
    return batch.replace(advantages=per_group(advantages.grpo, batch)(batch.rewards)[..., None])

  def ratio(scores, batch):
    return ratios.sequence(scores.logp, batch.old_logp, batch.mask)

  return stateless(prepare, **policy_terms(ratio, clip_low, clip_high, aggregation.sequence_mean))


def gspo_token(*, clip_low: float = 3e-4, clip_high: float = 4e-4) -> Method:
  """GSPO with the sequence's ratio at every token, which carries the token's own gradient.

  With one advantage a sequence, as here, value and gradient are those of `gspo`; wrap it in what
  gives each token an advantage of its own.

  Args and source as in `gspo`.
  """

  def prepare(batch):
    return batch.replace(advantages=per_group(advantages.grpo, batch)(batch.rewards)[..., None])

  def ratio(scores, batch):
    return ratios.sequence_token(scores.logp, batch.old_logp, batch.mask)

  return stateless(prepare, **policy_terms(ratio, clip_low, clip_high, aggregation.sequence_mean))
