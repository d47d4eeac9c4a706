"""PROF: keep the responses whose steps agree with their outcome, as many right as wrong ones."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def prof_score(
  step_scores: jax.Array,
  correct: jax.Array,
  where: jax.Array | None = None,
  *,
  penalty: float,
  max_steps: int,
) -> jax.Array:
  """How well the steps of a response agree with its outcome, `[...]`.

  The mean score of the steps, less `penalty` for one step alone or for `max_steps` and more; with a
  minus sign where the answer is wrong.

  Args:
    step_scores: `[..., S]`, of a process reward model.
    correct: `[...]`, above 0 where the answer is right.
    where: `[..., S]`, 1 on real steps; None means all. No step at all has the mean 0.
    penalty: the paper's lambda.
    max_steps: the paper's H, from which on a response counts as drawn out.

  Source: arXiv 2509.03403, whose values of `penalty` and `max_steps` were not seen.

  >>> prof_score(jnp.array([[0.5, 1.0]] * 2), jnp.array([1.0, 0.0]), penalty=1.0, max_steps=3)
  Array([ 0.75, -0.75], dtype=float32)
  """
  chex.assert_equal_shape_prefix([step_scores, correct], step_scores.ndim - 1)
  real = stats.is_real(step_scores, where)
  steps = jnp.sum(real, axis=-1)
  mean = stats.mean(step_scores, real, axis=-1)
  mean = mean - jnp.where((steps == 1) | (steps >= max_steps), penalty, 0.0).astype(mean.dtype)
  return jnp.where(correct > 0, mean, -mean)


def prof_counts(
  correct: jax.Array, where: jax.Array | None = None, *, size: int
) -> tuple[jax.Array, jax.Array]:
  """How many right and how many wrong members of each group are kept, int `[...]` each.

  Their sum is `size`, or the whole group where it has no more; their product is as large as that
  allows. An odd one goes to the right ones.

  Args:
    correct: `[..., G]`.
    where: `[..., G]`, 1 on real members.
    size: the paper's m, of each group.

  Source: arXiv 2509.03403, in which nothing was seen of where an odd one goes.

  >>> prof_counts(jnp.array([[1.0, 0.0, 0.0, 0.0, 0.0]]), size=4)
  (Array([1], dtype=int32), Array([3], dtype=int32))
  """
  chex.assert_shape(correct, (..., None, None))
  real = stats.is_real(correct, where)
  right = jnp.sum(real & (correct > 0), axis=-1).astype(jnp.int32)
  wrong = jnp.sum(real, axis=-1).astype(jnp.int32) - right
  keep_right = jnp.minimum(right, jnp.maximum((size + 1) // 2, size - wrong))
  return keep_right, jnp.minimum(wrong, size - keep_right)


def prof_select(
  scores: jax.Array, correct: jax.Array, where: jax.Array | None = None, *, size: int
) -> jax.Array:
  """1 on the `prof_counts` right and wrong members with the highest scores, else 0; `[..., G]`.

  Args:
    scores: `[..., G]`, of `prof_score`; of equal ones the first is kept.
    correct: `[..., G]`.
    where: `[..., G]`, 1 on real members.
    size: how many members of a group are kept; no default, as the paper's was not seen.
  Returns:
    `[..., G]` floats. Where all are right, or all wrong, the best `size` of them.

  Source: PROF-both of arXiv 2509.03403.

  >>> scores = jnp.array([[0.9, 0.2, 0.5, -0.1, -0.6]])
  >>> prof_select(scores, jnp.array([[1.0, 1.0, 1.0, 0.0, 0.0]]), size=3)
  Array([[1., 0., 1., 1., 0.]], dtype=float32)
  """
  chex.assert_equal_shape([scores, correct])
  return _keep_highest(stats.as_float(scores), correct, where, size)


def prof_select_pos(
  key: jax.Array,
  scores: jax.Array,
  correct: jax.Array,
  where: jax.Array | None = None,
  *,
  size: int,
) -> jax.Array:
  """`prof_select` that filters right members alone: which wrong ones are kept is drawn.

  Args:
    key: drawn from once.
    scores: `[..., G]`.
    correct: `[..., G]`.
    where: `[..., G]`, 1 on real members.
    size: how many members of a group are kept.

  Source: PROF-pos of arXiv 2509.03403.
  """
  chex.assert_equal_shape([scores, correct])
  scores = stats.as_float(scores)
  drawn = jax.random.uniform(key, scores.shape, scores.dtype)
  return _keep_highest(jnp.where(correct > 0, scores, drawn), correct, where, size)


def _keep_highest(scores, correct, where, size):
  real, right = stats.is_real(scores, where), correct > 0
  chosen = jnp.zeros_like(real)
  for kind, count in zip((right, ~right), prof_counts(correct, where, size=size), strict=True):
    kind = kind & real
    chosen = chosen | (kind & (stats.rank(scores, kind) < count[..., None]))
  return chosen.astype(scores.dtype)
