"""VeriRL: scores of a tree of attempts, and the pairs that a reward model learns from."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def trace_back(
  scores: jax.Array,
  children: jax.Array,
  where: jax.Array,
  *,
  threshold: float = 0.2,
  rounds: int = 2,
) -> jax.Array:
  """Scores of which those of expanded nodes are the mean of their children's, `[..., N]`.

  A node below `threshold` was expanded if it has children: corrections of it by self-reflection.
  Their scores are traced back first.

  Args:
    scores: `[..., N]`, of the attempts themselves.
    children: int `[..., N, K]`, places of a node's children.
    where: `[..., N, K]`, 1 on real children.
    threshold: nodes below it are expanded.
    rounds: how many generations of corrections there are at most; what lies deeper is not read.
  Returns:
    `[..., N]`; a leaf keeps its score, however low.

  Source: arXiv 2508.18462, from a description of it.

  >>> children, where = jnp.array([[1, 2], [0, 0], [0, 0]]), jnp.array([[1, 1], [0, 0], [0, 0]])
  >>> trace_back(jnp.array([0.1, 0.5, 0.0]), children, where)
  Array([0.25, 0.5 , 0.  ], dtype=float32)
  """
  chex.assert_equal_shape([children, where])
  chex.assert_equal_shape_prefix([scores, children], scores.ndim)
  scores, real = stats.as_float(scores), stats.is_real(children, where)
  expanded = (scores < threshold) & jnp.any(real, axis=-1)
  at = jnp.where(real, children, 0).reshape(*scores.shape[:-1], -1)
  traced = scores
  for _ in range(rounds):
    found = jnp.take_along_axis(traced, at, axis=-1).reshape(children.shape)
    traced = jnp.where(expanded, stats.mean(found, real, axis=-1), scores)
  return traced


def verirl_pairs(
  scores: jax.Array,
  where: jax.Array | None = None,
  *,
  margin: float = 0.4,
  good: float = 0.8,
  bad: float = 0.0,
) -> jax.Array:
  """1 on `[..., i, j]` where i is to be preferred to j, else 0, `[..., N, N]`.

  That is if `scores[i] > scores[j] + margin`, `scores[i] > good` and `scores[j] > bad`, each
  strictly. The loss of a pair is that of Bradley and Terry, `-log sigmoid` of the difference.

  Args:
    scores: `[..., N]`, of attempts at one problem.
    where: `[..., N]`, 1 on real attempts.
    margin: by which i must be better.
    good: which i must exceed.
    bad: which j must exceed.

  Source: arXiv 2508.18462, from a description of it.

  >>> verirl_pairs(jnp.array([0.9, 0.3, 0.0]))
  Array([[0., 1., 0.],
         [0., 0., 0.],
         [0., 0., 0.]], dtype=float32)
  """
  scores, real = stats.as_float(scores), stats.is_real(scores, where)
  first, second = scores[..., :, None], scores[..., None, :]
  preferred = (first > second + margin) & (first > good) & (second > bad)
  return (preferred & real[..., :, None] & real[..., None, :]).astype(scores.dtype)
