"""TP-GRPO."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from rljax import advantages, aggregation, stats
from rljax.groups import per_group
from rljax.methods.combinators import stateless
from rljax.methods.reading import extra
from rljax.methods.terms import policy_terms, token_ratio
from rljax.types import Method


def tp_grpo(
  *,
  alpha: float = 1.0,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  eps: float = 1e-6,
  ddof: int = 1,
) -> Method:
  """GRPO with process rewards: steps that a judge calls wrong get less, by the group's accuracy.

  Reads `batch.extras`: `labels` `[*N, S]` from the judge, 1 on steps that are right, or in a wrong
  solution on those that match its answer; `num_steps` `[*N]`, how many of them are real; `step_id`
  `[*N, T]`, the step of each token (`advantages.step_ids`); and `correct` `[*N]`. Rewards are of
  the outcome, 1 and -1 in the paper.

  Args:
    alpha: price of a wrong step in a right solution, times the group's accuracy.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.
    eps: added to the group's deviation.
    ddof: 1 for the unbiased deviation.

  Source: arXiv 2507.23317; a reconstruction, see `advantages.tp_grpo`. Its off-policy blocks are
  the loop's part.
  """

  def prepare(batch):
    labels = extra(batch, 'labels', 'the label of each step from a judge, [*N, S]')
    count = extra(batch, 'num_steps', 'the number of steps of each completion, [*N]')
    step_id = extra(batch, 'step_id', 'the step of each token, [*N, T]')
    correct = extra(batch, 'correct', '1 for right solutions, else 0, [*N]')
    place = jax.lax.broadcasted_iota(jnp.int32, labels.shape, labels.ndim - 1)
    found = advantages.tp_grpo(
      per_group(partial(advantages.grpo, eps=eps, ddof=ddof), batch)(batch.rewards),
      correct,
      per_group(_group_mean, batch)(correct),
      labels,
      place < count[..., None],
      jnp.where(batch.mask > 0, step_id, 0),
      alpha=alpha,
    )
    return batch.replace(advantages=found)

  method = stateless(
    prepare, **policy_terms(token_ratio, clip_low, clip_high, aggregation.sequence_mean)
  )
  return method._replace(needs=('labels',))  # which come with their steps


def _group_mean(x, where=None):
  return jnp.broadcast_to(stats.mean(x, where, axis=-1, keepdims=True), x.shape)
