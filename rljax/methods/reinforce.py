"""REINFORCE and its baselines."""

from __future__ import annotations

from rljax import advantages, aggregation, surrogates
from rljax.groups import per_group
from rljax.methods.combinators import stateless
from rljax.methods.reading import extra, token_rewards
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


def opo() -> Method:
  """REINFORCE with the group's mean reward per token as baseline, for one update a batch.

  With sums over tokens that is the baseline of least variance, if a sequence's gradient grows with
  its length.

  Source: arXiv 2505.23585. In verl its loss is PPO's with a mean over tokens, which on-policy has
  the same direction.
  """

  def prepare(batch):
    estimate = per_group(advantages.opo, batch)(batch.rewards, batch.lengths)
    return batch.replace(advantages=estimate[..., None])

  return stateless(prepare, policy=Term(_policy, aggregation.sequence_sum_mean))


def remax(*, kl_coef: float = 0.0) -> Method:
  """REINFORCE with the reward of the prompt's greedy completion as baseline.

  Reads `extras['greedy_rewards']`, `[*N]`: that reward, repeated for each sample of the prompt. One
  sample a prompt is enough.

  Args:
    kl_coef: weight of a KL penalty in the token rewards; above 0 the batch needs `ref_logp`.

  Source: arXiv 2310.10505; follows verl's compute_remax_outcome_advantage.
  """

  def prepare(batch):
    greedy = extra(batch, 'greedy_rewards', "the reward of each prompt's greedy completion")
    rewards = token_rewards(batch, kl_coef)
    return batch.replace(advantages=advantages.remax(rewards, greedy, batch.mask))

  method = stateless(prepare, policy=Term(_policy, aggregation.sequence_sum_mean))
  return method._replace(needs=('greedy_rewards',))


def _policy(scores, batch):
  return surrogates.reinforce(scores.logp, batch.advantages)
