"""Weights of rewards from how their policy gradients help each other."""

from __future__ import annotations

from typing import Any

import chex
import jax
import jax.numpy as jnp

from rljax.controllers import Controller


def gradient_influence(gradients: Any) -> jax.Array:
  """Inner product of each reward's gradient with the sum of all, its own included, `[K]`.

  Args:
    gradients: `[K, D]`, or a pytree of arrays `[K, ...]`: policy gradients of the same rollouts
      under each reward's own advantages.

  Source: arXiv 2509.11452, on the layers in the middle of the model alone.

  >>> gradient_influence(jnp.array([[1.0, 0.0], [1.0, 1.0]]))
  Array([2., 3.], dtype=float32)
  """

  def of_leaf(g):
    g = g.reshape(g.shape[0], -1).astype(jnp.promote_types(g.dtype, jnp.float32))
    # Otherwise a TPU or GPU would multiply in half precision.
    return jnp.matmul(g, jnp.sum(g, axis=0), precision=jax.lax.Precision.HIGHEST)

  return sum(of_leaf(g) for g in jax.tree.leaves(gradients))


def reweigh(
  weights: jax.Array,
  influence: jax.Array,
  *,
  learning_rate: float | jax.Array = 1e-6,
  mu: float = 1e-5,
) -> jax.Array:
  """`softmax(log(weights) + learning_rate / mu * influence)`, `[K]`: one step of mirror ascent.

  Args:
    weights: `[K]`, not negative; 0 stays 0.
    influence: `[K]`, from `gradient_influence`.
    learning_rate: that of the policy at this step.
    mu: regularisation.

  Source: arXiv 2509.11452; follows the authors' ray_trainer_optimization.py.
  """
  chex.assert_equal_shape([weights, influence])
  return jax.nn.softmax(jnp.log(weights) + learning_rate / mu * influence, axis=-1)


def gradient_weights(
  rewards: int, *, learning_rate: float = 1e-6, mu: float = 1e-5, every: int = 1
) -> Controller:
  """Weights of K rewards, equal at first: state is weights, influence added up, and a count.

  The observation is the gradients of a step, as in `gradient_influence`; the value the weights
  `[K]`, which move with the mean influence of each `every` steps.

  Args:
    rewards: K.
    learning_rate: the policy's.
    mu: regularisation.
    every: steps from one update to the next.
  Raises:
    ValueError: `every` is below 1.

  Source: arXiv 2509.11452; follows the authors' ray_trainer_optimization.py.
  """
  if every < 1:
    raise ValueError(f'every is a number of steps and must be 1 at least, not {every}.')

  def init():
    return {
      'weights': jnp.full((rewards,), 1 / rewards),
      'influence': jnp.zeros((rewards,)),
      'seen': jnp.zeros((), jnp.int32),
    }

  def update(state, gradients):
    influence, seen = state['influence'] + gradient_influence(gradients), state['seen'] + 1
    due = seen == every
    moved = reweigh(state['weights'], influence / every, learning_rate=learning_rate, mu=mu)
    weights = jnp.where(due, moved, state['weights'])
    new = {
      'weights': weights,
      'influence': jnp.where(due, 0, influence),
      'seen': jnp.where(due, 0, seen),
    }
    return new, weights

  return Controller(init, update)
