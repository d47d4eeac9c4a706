"""Learning from one example: the loss terms of 1-shot RLVR."""

from __future__ import annotations

from rljax import advantages, aggregation
from rljax.groups import per_group
from rljax.methods.combinators import stateless
from rljax.methods.terms import entropy_bonus, kl_to_reference, policy_terms, token_ratio
from rljax.types import Method


def one_shot(
  *,
  policy_coef: float = 1.0,
  entropy_coef: float = 1e-3,
  kl_coef: float = 1e-3,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
) -> Method:
  """GRPO with token means, an entropy bonus and a KL penalty, on a batch of one prompt.

  The prompt is repeated to fill the batch, and its copies stay groups of their own: 16 groups of 8,
  not one of 128. Once all answers are right only the bonus and the penalty are left. Reads
  `batch.ref_logp`.

  Args:
    policy_coef: weight of the policy's loss.
    entropy_coef: weight of the mean entropy.
    kl_coef: weight of the mean k3.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.

  Source: arXiv 2504.20571; follows the authors' dp_actor.py, but for its bound of 10 on k3.
  """

  def prepare(batch):
    return batch.replace(advantages=per_group(advantages.grpo, batch)(batch.rewards)[..., None])

  terms = policy_terms(token_ratio, clip_low, clip_high, aggregation.token_mean)
  return stateless(
    prepare,
    policy=terms['policy']._replace(coef=policy_coef),
    clip_fraction=terms['clip_fraction'],
    entropy=entropy_bonus(aggregation.token_mean, entropy_coef),
    kl=kl_to_reference(aggregation.token_mean, kl_coef),
  )


def one_shot_entropy(*, entropy_coef: float = 1e-3) -> Method:
  """The entropy bonus of `one_shot` alone: no reward takes part.

  Args:
    entropy_coef: weight of the mean entropy.

  Source: arXiv 2504.20571.
  """
  return stateless(lambda batch: batch, entropy=entropy_bonus(aggregation.token_mean, entropy_coef))
