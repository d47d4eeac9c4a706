"""RepExp: a bonus for completions that the policy represents unlike the others of the group."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from rljax import shaping, stats
from rljax.groups import per_group
from rljax.methods.combinators import inner_draws
from rljax.methods.grpo import grpo
from rljax.methods.reading import correct, extra
from rljax.types import Method


def repexp(
  *,
  beta: float = 0.01,
  lam: float = 0.01,
  dimensions: int = 512,
  seed: int = 0,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
) -> Method:
  """GRPO `with_exploration`.

  Args:
    beta: weight of the bonus.
    lam: the ridge of the bonus.
    dimensions: to which features are projected.
    seed: of the projections.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.

  Source: arXiv 2510.11686; see `with_exploration`.
  """
  method = grpo(clip_low=clip_low, clip_high=clip_high)
  return with_exploration(method, beta=beta, lam=lam, dimensions=dimensions, seed=seed)


def with_exploration(
  method: Method,
  *,
  beta: float = 0.01,
  lam: float = 0.01,
  dimensions: int = 512,
  seed: int = 0,
) -> Method:
  """The method on rewards with `beta` times `shaping.repexp_bonus` of each completion.

  Reads `batch.extras['old_mean_hidden']`, `[*N, D]`: the mean over a completion's tokens of the
  activations before the head, a feature of the policy before its update. Features of more than
  `dimensions` entries are projected at random, anew for each rollout batch, and all are centred in
  their group. A group without a right answer (`extras['correct']`, else the rewards) has no bonus,
  which would be all that it learns from.

  The state counts rollout batches.

  Args:
    method: any method.
    beta: weight of the bonus.
    lam: the ridge of the bonus.
    dimensions: to which features are projected.
    seed: of the projections.

  Source: arXiv 2510.11686; centring, the condition and the numbers are those of the authors' recipe
  (verl, recipe/rep_exp), whose features are of the policy before any training and whose published
  runs project to 32 or 128 dimensions. It projects smaller features as well.
  """

  def init():
    return {'inner': method.init(), 'batches': jnp.zeros((), jnp.int32)}

  def prepare(state, batch):
    features = extra(batch, 'old_mean_hidden', 'the mean activation of each completion')
    if features.shape[-1] > dimensions:
      key = jax.random.fold_in(jax.random.key(seed), state['batches'])
      features = shaping.sparse_projection(key, features, dimensions=dimensions)
    bonus = per_group(partial(_bonus, lam=lam), batch)(features, correct(batch))
    batch = batch.replace(rewards=batch.rewards + beta * bonus)
    inner, batch = method.prepare(state['inner'], batch)
    return {'inner': inner, 'batches': state['batches'] + 1}, batch

  return method._replace(
    init=init,
    prepare=prepare,
    draws=inner_draws(method),
    features={**method.features, 'mean_hidden': _mean_hidden},
    reads=tuple(dict.fromkeys((*method.reads, 'mean_hidden'))),
  )


def _bonus(features, correct, where=None, *, lam):
  """`shaping.repexp_bonus` of centred features, 0 in groups where nobody is right."""
  real = stats.is_real(correct, where)
  each = jnp.broadcast_to(real[..., None], features.shape)
  centred = features - stats.mean(features, each, axis=-2, keepdims=True)
  solved = jnp.any(real & (correct > 0), axis=-1, keepdims=True)
  return jnp.where(solved, shaping.repexp_bonus(centred, where, lam=lam), 0)


def _mean_hidden(x, real):
  """Mean activation of one completion, `[D]`, from `[T, D]`."""
  return stats.mean(x, jnp.broadcast_to(real[:, None], x.shape), axis=0)
