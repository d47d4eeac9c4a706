"""SAPO."""

from __future__ import annotations

from rljax import advantages, aggregation, surrogates
from rljax.groups import per_group
from rljax.methods.combinators import stateless
from rljax.methods.terms import token_ratio
from rljax.types import Method, Term


def sapo(*, tau_pos: float = 1.0, tau_neg: float = 1.05) -> Method:
  """Soft adaptive policy optimisation: GRPO with a smooth gate on the ratio in place of the clip.

  Args:
    tau_pos: how fast the gate closes for positive advantages.
    tau_neg: the same for negative ones.

  Source: arXiv 2511.20347.
  """

  def prepare(batch):
    return batch.replace(advantages=per_group(advantages.grpo, batch)(batch.rewards)[..., None])

  def policy(scores, batch):
    ratio = token_ratio(scores, batch)
    return surrogates.sapo(ratio, batch.advantages, tau_pos=tau_pos, tau_neg=tau_neg)

  return stateless(prepare, policy=Term(policy, aggregation.sequence_mean))
