"""REINFORCE and its leave-one-out baseline."""

from __future__ import annotations

from rljax import advantages, aggregation, surrogates
from rljax.groups import per_group
from rljax.methods.combinators import stateless
from rljax.types import Method, Term


def reinforce() -> Method:
  """The plain policy gradient: every token of a sequence is weighted by its reward, no baseline.

  One update a batch: there is no ratio that would correct a second one.

  Source: Williams (1992); token sums and sequence mean as in verl's compute_policy_loss_reinforce.
  """

  def prepare(batch):
    return batch.replace(advantages=batch.rewards[..., None])

  return stateless(prepare, policy=Term(_policy, aggregation.sequence_sum_mean))


def reinforce_token_mean() -> Method:
  """`reinforce` with the mean over all tokens of the batch: a token counts the same wherever it is.

  Source: the token mean is that of GPG, arXiv 2504.02546.
  """
  return reinforce()._replace(terms={'policy': Term(_policy, aggregation.token_mean)})


def rloo() -> Method:
  """REINFORCE with the mean reward of the group's other samples as baseline.

  Source: arXiv 2402.14740.
  """

  def prepare(batch):
    return batch.replace(advantages=per_group(advantages.rloo, batch)(batch.rewards)[..., None])

  return stateless(prepare, policy=Term(_policy, aggregation.sequence_sum_mean))


def _policy(scores, batch):
  return surrogates.reinforce(scores.logp, batch.advantages)
