"""Losses of a whole group's scores, exact however the rows are cut."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from rljax import aggregation, stats
from rljax.groups import per_group
from rljax.methods.combinators import stateless
from rljax.types import Batch, Method, Scores, Term


def group_loss(
  loss: Callable[..., jax.Array],
  score: Callable[[Scores, Batch], jax.Array],
  inputs: Callable[[Batch], tuple[jax.Array, ...]],
) -> Method:
  """A method without advantages: `loss(scores, *inputs)` of each group, mean over prompts.

  A loss of a group is not a sum over its members. So `measure` takes its value and its slope in
  every score on the whole step, which costs a forward pass, and the term is linear in the scores,
  with equal value and gradient: groups may be ragged, interleaved, and cut by microbatches. Both
  layouts.

  Args:
    loss: `(scores [..., G], *inputs [..., G]) -> [...]`; an input that is 0 on missing members must
      tell it who is there.
    score: `(scores, batch) -> [*N]`, differentiable; the policy's part.
    inputs: `batch -> ` arrays `[*N]`, constants.
  """

  def slope(scores, *rest, where=None):
    del where  # the inputs say who is there
    return jax.grad(lambda x: jnp.sum(loss(x, *rest)))(scores)

  def share(scores, *rest, where=None):
    members = jnp.sum(stats.is_real(scores, where), axis=-1, keepdims=True)
    value = loss(scores, *rest)[..., None] / jnp.maximum(members, 1).astype(scores.dtype)
    return jnp.broadcast_to(value, scores.shape)

  def measure(state, scores, batch):
    found = (score(scores, batch), *inputs(batch))
    extras = {
      'group_slope': per_group(slope, batch)(*found),
      'group_share': per_group(share, batch)(*found),
    }
    return state, batch.replace(extras={**batch.extras, **extras})

  def value(scores, batch):
    x = score(scores, batch)
    change = x - jax.lax.stop_gradient(x)  # 0, with the gradient of the score
    return batch.extras['group_share'] + batch.extras['group_slope'] * change

  method = stateless(lambda batch: batch, policy=Term(value, aggregation.prompt_sum_mean))
  return method._replace(measure=measure)
