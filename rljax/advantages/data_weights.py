"""Weights of single prompts by how they compare with their category: GRPO-S.

A category is a kind of prompt, an integer in `[0, C)`. Its typical values are running means that
the caller carries.
"""

from __future__ import annotations

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from rljax import stats


class CategoryMeans(NamedTuple):
  """Running means of categories.

  Attributes:
    mean: `[C]`, over all that was seen; 0 where nothing was.
    seen: `[C]`, how many values that were.
  """

  mean: jax.Array
  seen: jax.Array


def clause_similarity(
  cosine: jax.Array,
  demonstrated: jax.Array | None = None,
  generated: jax.Array | None = None,
) -> jax.Array:
  """How much of a demonstration a completion says: each clause's best match, averaged.

  Args:
    cosine: `[..., C, S]`, between C clauses of the demonstration and S of the completion.
    demonstrated: `[..., C]`, 1 on real clauses.
    generated: `[..., S]`, 1 on real clauses.
  Returns:
    `[...]`; 0 if either has no clause. One less this is the difference that GRPO-S calls data
    hardness.

  Source: GRPO-S, from an account of the paper.

  >>> clause_similarity(jnp.array([[0.9, 0.1], [0.2, 0.5]]))
  Array(0.7, dtype=float32)
  """
  cosine = stats.as_float(cosine)
  everything = jnp.ones_like(cosine, dtype=bool)
  if generated is not None:
    everything = everything & (generated > 0)[..., None, :]
  best = jnp.max(cosine, axis=-1, initial=-jnp.inf, where=everything)
  return stats.mean(jnp.where(jnp.isfinite(best), best, 0), demonstrated, axis=-1)


def sigmoid_ratio(x: jax.Array, typical: jax.Array) -> jax.Array:
  """`sigmoid(x) / sigmoid(typical)`, any shape: 1 for a typical value, more above it.

  Source: GRPO-S, from an account of the paper.
  """
  return jnp.exp(jax.nn.log_sigmoid(x) - jax.nn.log_sigmoid(typical))


def init_category_means(categories: int) -> CategoryMeans:
  """Means of `categories` categories of which nothing has been seen."""
  return CategoryMeans(jnp.zeros(categories), jnp.zeros(categories))


def update_category_means(
  state: CategoryMeans, x: jax.Array, category: jax.Array, where: jax.Array | None = None
) -> CategoryMeans:
  """Takes in more values; every value ever seen counts the same.

  Args:
    state: the means so far.
    x: `[...]`.
    category: `[...]`, in `[0, C)`.
    where: `[...]`, 1 on values that count.

  >>> state = init_category_means(3)
  >>> update_category_means(state, jnp.array([1.0, 3.0, 7.0]), jnp.array([0, 0, 1])).mean
  Array([2., 7., 0.], dtype=float32)
  """
  chex.assert_equal_shape([x, category])
  x, real = stats.as_float(x), stats.is_real(x, where)
  member = _members(state, category) & real[..., None]
  every = tuple(range(x.ndim))
  new = jnp.sum(member, axis=every).astype(x.dtype)
  x = jnp.broadcast_to(x[..., None], member.shape)
  total = jnp.sum(jnp.where(member, x, 0), axis=every)
  seen = state.seen + new
  return CategoryMeans(state.mean + (total - new * state.mean) / jnp.maximum(seen, 1), seen)


def category_mean(state: CategoryMeans, category: jax.Array, otherwise: jax.Array) -> jax.Array:
  """Mean of each one's category, and `otherwise` where nothing of it was seen; all `[...]`."""
  member = _members(state, category) & (state.seen > 0).reshape((1,) * category.ndim + (-1,))
  means = jnp.sum(jnp.where(member, jnp.broadcast_to(state.mean, member.shape), 0), axis=-1)
  return jnp.where(jnp.any(member, axis=-1), means, otherwise)


def _members(state, category):
  """Who is in which category, `[..., C]`."""
  shape = (*category.shape, state.mean.shape[0])
  return category[..., None] == jax.lax.broadcasted_iota(jnp.int32, shape, category.ndim)
