"""COPO."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax

from rljax import advantages, aggregation, surrogates
from rljax.groups import per_group
from rljax.methods.combinators import stateless
from rljax.methods.reading import extra
from rljax.methods.terms import token_ratio
from rljax.types import Method, Term


def copo(
  *,
  k: float = 5.0,
  b: float = 1.0,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  clip_cap: float = 3.0,
  eps: float = 1e-6,
  score: Callable[..., jax.Array] = advantages.success_rate,
) -> Method:
  """Consistency-aware policy optimisation: a loss within groups and one between them, blended.

  Within a group completions are compared as in GRPO, and between groups the prompts' success rates;
  the entropy of a group's answers says how much each of the two losses counts. Losses are blended
  and not advantages, since the clip is not linear. Groups compared are all of the batch, whatever
  `keep` says.

  Reads `extras['answers']`, `[*N]`: an id of the final answer, equal where answers to a prompt are.

  Args:
    k: steepness of the blend.
    b: entropy in bits at which both losses count alike.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.
    clip_cap: the largest ratio for negative advantages.
    eps: added to deviations, of a group and between groups.
    score: `(rewards, answers, where) -> [..., G]`, the number of a group that others are compared
      with: `advantages.success_rate`, or `advantages.consistent_success_rate`.

  Source: arXiv 2508.04138 and the authors' compute_policy_loss_with_global, constants of
  run_copo.sh.
  """

  def prepare(batch):
    answers = extra(batch, 'answers', 'an id of the final answer of each completion')
    entropy = per_group(advantages.answer_entropy, batch)(answers)
    scores = per_group(score, batch)(batch.rewards, answers)
    local = per_group(partial(advantages.grpo, eps=eps), batch)(batch.rewards)
    between = per_group(partial(advantages.between_groups, eps=eps), batch)(scores)
    weight = advantages.local_weight(batch.rewards, entropy, k=k, b=b)
    return batch.replace(
      advantages=local[..., None],
      extras={**batch.extras, 'between_advantages': between, 'local_weight': weight},
    )

  def blended(loss, scores, batch):
    """`loss(ratio, advantages)` of both advantages, `[*N, T]`."""
    ratio, weight = token_ratio(scores, batch), batch.extras['local_weight'][..., None]
    local = loss(ratio, batch.advantages)
    between = loss(ratio, batch.extras['between_advantages'][..., None])
    return weight * local + (1 - weight) * between

  def policy(scores, batch):
    return blended(
      lambda r, a: surrogates.dual_clipped(r, a, clip_low, clip_high, clip_cap), scores, batch
    )

  def cut(scores, batch):
    def fraction(ratio, advantages):
      return surrogates.clip_fraction(ratio, advantages, clip_low, clip_high)

    return jax.lax.stop_gradient(blended(fraction, scores, batch))

  return stateless(
    prepare,
    policy=Term(policy, aggregation.sequence_mean),
    clip_fraction=Term(cut, aggregation.sequence_mean, 0.0),
  )._replace(needs=('answers',))
