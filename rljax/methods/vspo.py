"""VSPO."""

from __future__ import annotations

from functools import partial

import jax.numpy as jnp

from rljax import advantages, aggregation, selection, token_weights
from rljax.groups import per_group
from rljax.methods.combinators import stateless
from rljax.methods.reading import extra
from rljax.methods.terms import policy_terms, token_ratio
from rljax.types import Method


def vspo(
  *,
  max_reward: float = 1.0,
  width: float = 0.2,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  eps: float = 1e-6,
  ddof: int = 1,
) -> Method:
  """GRPO on a batch in which valuable prompts stand in for those that had nothing to compare.

  The advantages of a prompt are multiplied by its value relative to the batch's, held near 1, over
  the number of its copies, so that a repeated prompt does not dominate. Reads
  `batch.extras['copies']` `[*N]`: how many groups of the batch answer the prompt of this one. The
  draw itself is the rollout's part (`selection.refill_by_value`, `selection.count_copies`).

  Args:
    max_reward: the highest possible reward, for the value of a prompt.
    width: the relative value is held to `1 - width` to `1 + width`.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.
    eps: added to the group's deviation.
    ddof: 1 for the unbiased deviation.

  Source: arXiv 2512.07478; a reconstruction: the value is that of a summary, the form of the weight
  is ours. Results of this are not results of the paper.
  """

  def prepare(batch):
    copies = extra(batch, 'copies', 'in how many groups of the batch the prompt stands, [*N]')
    estimate = per_group(partial(advantages.grpo, eps=eps, ddof=ddof), batch)(batch.rewards)
    value = partial(selection.task_value, max_reward=max_reward, ddof=ddof)
    values = per_group(value, batch)(batch.rewards)
    share = 1 / per_group(_group_size, batch)(batch.rewards)  # so that every group counts once
    average = jnp.sum(share * values) / jnp.sum(share)
    weight = token_weights.smoothed_value(values, average, copies, width=width)
    return batch.replace(advantages=(estimate * weight)[..., None])

  method = stateless(
    prepare, **policy_terms(token_ratio, clip_low, clip_high, aggregation.sequence_mean)
  )
  return method._replace(needs=('copies',))


def _group_size(x, where=None):
  real = jnp.ones_like(x) if where is None else where
  return jnp.broadcast_to(jnp.sum(real, axis=-1, keepdims=True), x.shape)
