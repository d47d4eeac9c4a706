"""CalibRL."""

from __future__ import annotations

import jax.numpy as jnp

from rljax import advantages, aggregation, surrogates
from rljax.groups import per_group
from rljax.methods.combinators import stateless
from rljax.methods.reading import extra
from rljax.methods.terms import policy_terms, token_ratio
from rljax.types import Method, Term


def calibrl(
  *,
  alpha: float = 0.5,
  guide_coef: float = 0.1,
  correct_above: float = 0.1,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  cap: float = 3.0,
) -> Method:
  """Centred advantages and PPO's dual clip, with right answers drawn up to an expert's confidence
  and wrong ones down below it.

  The expert's own completions are no rows of the batch: they carry no loss and enter no group's
  mean. Reads `batch.extras['expert_logp']`, `[*N, T]`: in the code, the log-probabilities of the
  prompt's expert completion under the old policy, position by position, 0 past its end; its mean at
  every position is the reading that compares like with like. `batch.extras['has_expert']`, `[*N]`,
  if it is there, is 0 for prompts without an expert, which get no guidance (the code has them
  aim at certainty).

  Args:
    alpha: slope of the guidance past the expert's level.
    guide_coef: weight of the guidance, the paper's lambda.
    correct_above: an answer is right if its reward is above this.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.
    cap: the largest ratio of a negative advantage.

  Source: arXiv 2602.20197; follows the authors' core_algos.py where paper and code differ
    (`surrogates.calibrated`).
  """

  def prepare(batch):
    return batch.replace(advantages=per_group(advantages.center, batch)(batch.rewards)[..., None])

  def policy(scores, batch):
    ratio = token_ratio(scores, batch)
    return surrogates.dual_clipped(ratio, batch.advantages, clip_low, clip_high, cap)

  def guide(scores, batch):
    expert = extra(batch, 'expert_logp', '[*N, T], the expert at each position')
    guided = batch.mask > 0
    if 'has_expert' in batch.extras:
      guided &= batch.extras['has_expert'][..., None] > 0
    logp, expert = (jnp.where(guided, x, 0.0) for x in (scores.logp, expert))
    right = batch.rewards > correct_above
    return surrogates.calibrated(logp, expert, batch.advantages, right, alpha=alpha)

  terms = policy_terms(token_ratio, clip_low, clip_high, aggregation.token_mean)
  method = stateless(
    prepare,
    policy=Term(policy, aggregation.token_mean),
    clip_fraction=terms['clip_fraction'],
    guide=Term(guide, aggregation.token_mean, guide_coef),
  )
  return method._replace(needs=('expert_logp',))
