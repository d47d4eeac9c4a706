"""APO."""

from __future__ import annotations

from functools import partial

from rljax import advantages, aggregation
from rljax.groups import per_group
from rljax.methods.combinators import stateless
from rljax.methods.reading import extra
from rljax.methods.terms import kl_to_reference, policy_terms, token_ratio
from rljax.types import Method


def apo(
  *,
  kl_coef: float = 1e-3,
  base: float = 1.00001,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  eps: float = 1e-9,
) -> Method:
  """Asymmetric policy optimisation: a lighter KL penalty on right answers, by the difficulty of the
  prompt, and heavier advantages of wrong answers that are too long.

  Reads `batch.extras['correct']`, above 0 where the answer is right (without any reward for its
  format), and `batch.ref_logp`. The KL penalty is the mean over sequences of each one's weight
  times its mean k3; the weights are left in `batch.extras['kl_weight']`.

  Args:
    kl_coef: weight of the KL penalty.
    base: of the growth of a wrong answer's advantage with its length (`advantages.stcr`).
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.
    eps: added to the group's deviation.

  Source: arXiv 2506.21655; follows the authors' View-R1, as the paper's equations were not seen.
  """
  estimate = partial(advantages.grpo, eps=eps)

  def prepare(batch):
    correct = extra(batch, 'correct', '[*N], above 0 where the answer is right')
    adv = per_group(estimate, batch)(batch.rewards)
    heavier = per_group(partial(advantages.stcr, base=base), batch)(correct, batch.lengths)
    kl_weight = per_group(advantages.dads, batch)(adv, correct)
    return batch.replace(
      advantages=(heavier * adv)[..., None], extras={**batch.extras, 'kl_weight': kl_weight}
    )

  def lighter(batch):
    return aggregation.sequence_mean(batch) * batch.extras['kl_weight'][..., None]

  terms = policy_terms(token_ratio, clip_low, clip_high, aggregation.token_mean)
  return stateless(prepare, **terms, kl=kl_to_reference(lighter, kl_coef))
