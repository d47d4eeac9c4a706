"""SPO: credit by segment, from values that are estimated by sampling on from within a completion.

The loss and its counts see only tokens that were unlikely under the policy that was sampled from
(`batch.old_logp`, else `batch.behavior_logp`): where one token is all but certain there is nothing
to decide. Advantages are whitened over the same tokens.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from rljax import advantages, aggregation, token_weights
from rljax.methods.combinators import stateless
from rljax.methods.reading import extra, kept
from rljax.methods.terms import policy_terms, token_ratio
from rljax.types import Batch, Method

_LIMIT = math.exp(10.0)  # of the ratio and of its inverse, as in the authors' trainer


def spo_chain(*, threshold: float = 0.9, clip_low: float = 0.2, clip_high: float = 0.2) -> Method:
  """Segment policy optimisation, chain: each segment of a completion gets its rise in value.

  Reads `batch.extras['cuts']` `[*N, T]`, 1 on the tokens before which a value was estimated, and
  `batch.extras['values_at_cuts']` `[*N, T]`, those values, read there only. A rollout takes the
  places from `advantages.cut_points` and `cut_positions`, samples K completions of each prefix, and
  has both arrays from `advantages.place_values`. The rewards are those of the completions.

  Args:
    threshold: probability from which on a token does not count.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.

  Source: arXiv 2505.23564; follows the authors' repository, which reads the probabilities of the
  sampler for the advantages and those before the update for the mask; here both are the same.
  """

  def prepare(batch):
    cuts = extra(batch, 'cuts', '1 on the tokens before which a value is known, [*N, T]')
    values = extra(batch, 'values_at_cuts', 'the values before the tokens of `cuts`, [*N, T]')
    probs = _probs(batch)
    unlikely = token_weights.unlikely(probs, batch.mask, threshold=threshold)
    rises = advantages.spo_chain(
      batch.rewards, values, cuts, probs, batch.mask, threshold=threshold
    )
    return batch.replace(
      advantages=_whitened(rises, batch.mask, batch.keep, unlikely),
      extras=batch.extras | {'unlikely': unlikely},
    )

  return _spo(prepare, clip_low, clip_high, needs=('cuts', 'values_at_cuts'))


def spo_tree(*, threshold: float = 0.9, clip_low: float = 0.2, clip_high: float = 0.2) -> Method:
  """Segment policy optimisation, tree: each segment of a tree is a sequence with its rise in value.

  A sequence is an edge: its prompt is the text up to the parent, its completion the segment. Reads
  `batch.rewards` as the value of the node at its end and `batch.extras['parent_value']` `[*N]`,
  that of the parent, both from `advantages.tree_values` of the whole tree. Edges without a rise are
  left out of the loss and of its count. Groups are not read.

  Args:
    threshold: probability from which on a token does not count.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.

  Source: arXiv 2505.23564; the authors' tree_episode_generator.py, and their trainer, which whitens
  over the unlikely tokens of the batch here too. Which edges enter an update, of this iteration or
  of an earlier one, is the rollout's part.
  """

  def prepare(batch):
    parent = extra(batch, 'parent_value', "the value of each segment's parent node, [*N]")
    return _with_edges(batch, batch.rewards - parent, threshold)

  return _spo(prepare, clip_low, clip_high, needs=('parent_value',))


def spo_tree_scaled(
  *,
  threshold: float = 0.9,
  eps: float = 1e-8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
) -> Method:
  """`spo_tree` with each rise over the deviation of its siblings; the code's variant "grpo".

  Reads `batch.extras['parent_deviation']` `[*N]` as well, the deviation of the values of the
  parent's children (`advantages.tree_deviations` at the parent).

  Args:
    threshold: probability from which on a token does not count.
    eps: added to the deviation.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.
  """

  def prepare(batch):
    parent = extra(batch, 'parent_value', "the value of each segment's parent node, [*N]")
    deviation = extra(
      batch, 'parent_deviation', "the deviation of the values of that node's children, [*N]"
    )
    return _with_edges(batch, (batch.rewards - parent) / (deviation + eps), threshold)

  return _spo(prepare, clip_low, clip_high, needs=('parent_deviation', 'parent_value'))


def _spo(prepare, clip_low, clip_high, needs):
  method = stateless(prepare, **policy_terms(_ratio, clip_low, clip_high, _unlikely_mean))
  return method._replace(needs=needs)


def _with_edges(batch, rises, threshold):
  keep = kept(batch) * (rises != 0)
  unlikely = token_weights.unlikely(_probs(batch), batch.mask, threshold=threshold)
  return batch.replace(
    advantages=_whitened(rises[..., None] * jnp.ones_like(unlikely), batch.mask, keep, unlikely),
    keep=keep,
    extras=batch.extras | {'unlikely': unlikely},
  )


def _whitened(rises, mask, keep, unlikely):
  tokens = mask if keep is None else mask * keep[..., None]
  return advantages.whiten_unlikely(rises, tokens, unlikely)


def _unlikely_mean(batch):
  return aggregation.token_mean(batch.replace(mask=batch.mask * batch.extras['unlikely']))


def _ratio(scores, batch):
  ratio = token_ratio(scores, batch)
  return jnp.where(ratio > _LIMIT, _LIMIT, jnp.where(ratio < 1 / _LIMIT, 1 / _LIMIT, ratio))


def _probs(batch: Batch) -> jax.Array:
  """Probability of each token under the policy that was sampled from, `[*N, T]`."""
  logp = batch.behavior_logp if batch.old_logp is None else batch.old_logp
  if logp is None:
    raise ValueError(
      'SPO reads the probabilities of the tokens in batch.old_logp or batch.behavior_logp, and '
      'both are None. Pass on what the sampler returned.'
    )
  return jnp.exp(jnp.where(batch.mask > 0, logp, 0.0))
