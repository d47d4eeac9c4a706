"""Advantages of the edges of a tree of segments, whose values come from the tree itself.

Nodes are `[M]`, in any order; `parent [M]` holds the index of each node's parent, negative for a
root. Several trees may stand side by side. A node without children is a leaf, early or not. The
edge of a node is the segment that leads to it. A rollout calls this on whole trees, before any edge
is dropped.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def tree_values(rewards: jax.Array, parent: jax.Array) -> jax.Array:
  """Value of each node, `[M]`: the reward of a leaf, the mean of the children of any other.

  Args:
    rewards: `[M]`, read at leaves.
    parent: int `[M]`.

  Source: arXiv 2505.23564; the authors' hybrid_inference_strategy.py.

  >>> tree_values(jnp.array([0.0, 0.0, 1.0, 1.0, 0.0]), jnp.array([-1, 0, 0, 1, 1]))
  Array([0.75, 0.5 , 1.  , 1.  , 0.  ], dtype=float32)
  """
  chex.assert_rank(rewards, 1)
  chex.assert_equal_shape([rewards, parent])
  rewards = stats.as_float(rewards)
  leaf = _children(jnp.ones_like(rewards), parent, jax.ops.segment_sum) == 0
  rewards = jnp.where(leaf, rewards, 0)

  def going(state):
    _, changed, rounds = state
    return changed & (rounds < rewards.shape[0])

  def level(state):  # each round gets the nodes right that are one higher above their leaves
    values, _, rounds = state
    better = jnp.where(leaf, rewards, _mean_of_children(values, parent))
    return better, jnp.any(better != values), rounds + 1

  return jax.lax.while_loop(going, level, (rewards, jnp.any(~leaf), 0))[0]


def tree_deviations(values: jax.Array, parent: jax.Array) -> jax.Array:
  """Deviation of the values of each node's children, `[M]`, by their number; 0 for a leaf."""
  mean = _mean_of_children(values, parent)
  squares = (values - _of_parent(mean, parent)) ** 2
  n = _children(jnp.ones_like(values), parent, jax.ops.segment_sum)
  return jnp.sqrt(_children(squares, parent, jax.ops.segment_sum) / jnp.maximum(n, 1))


def spo_tree(rewards: jax.Array, parent: jax.Array) -> jax.Array:
  """Advantage of each edge, `[M]`: the value of its node less that of the parent; 0 for a root.

  Args:
    rewards: `[M]`, read at leaves.
    parent: int `[M]`.
  Returns:
    `[M]`; exactly 0 where all siblings are worth the same, and for an only child.

  Source: arXiv 2505.23564; the authors' extract_edges_from_tree, where this is called rloo although
  the node itself is in the mean.
  """
  values = tree_values(rewards, parent)
  return values - _of_parent(values, parent, values)


def spo_tree_scaled(rewards: jax.Array, parent: jax.Array, *, eps: float = 1e-8) -> jax.Array:
  """`spo_tree` over the deviation of the siblings' values, `[M]`; the code's variant "grpo"."""
  values = tree_values(rewards, parent)
  deviations = _of_parent(tree_deviations(values, parent), parent)
  return (values - _of_parent(values, parent, values)) / (deviations + eps)


def _children(x, parent, reduce):
  """`x [M]` reduced over the children of each node, `[M]`."""
  nodes = x.shape[0]
  return reduce(x, jnp.where(parent >= 0, parent, nodes), num_segments=nodes + 1)[:nodes]


def _mean_of_children(values, parent):
  n = _children(jnp.ones_like(values), parent, jax.ops.segment_sum)
  mean = _children(values, parent, jax.ops.segment_sum) / jnp.maximum(n, 1)
  high = _children(values, parent, jax.ops.segment_max)
  low = _children(values, parent, jax.ops.segment_min)
  # Equal values have no exact mean in floats, and 1e-8 would make an advantage of the remainder.
  return jnp.where((n > 0) & (high == low), high, mean)


def _of_parent(x, parent, of_root=0.0):
  return jnp.where(parent >= 0, x[jnp.maximum(parent, 0)], of_root)
