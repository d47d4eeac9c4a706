"""Shorter than responses have been on average so far."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats
from rljax.controllers import Controller


def concise(lengths: jax.Array, mean: jax.Array) -> jax.Array:
  """1 where a response has fewer tokens than `mean` `[]`, else 0, any shape.

  Source: arXiv 2509.11452; follows the authors' math_conciseness.py.

  >>> concise(jnp.array([3, 4, 5]), jnp.float32(4))
  Array([1., 0., 0.], dtype=float32)
  """
  lengths = stats.as_float(lengths)
  return (lengths < mean).astype(lengths.dtype)


def running_length() -> Controller:
  """The mean length of all responses so far: state is that mean and how many they were.

  The observation is (lengths, where) of a step, any shape, `where` 1 on real responses or None; the
  value `[]` is the mean with them included. For `concise`.

  Source: arXiv 2509.11452; follows the authors' ray_trainer_vanilla.py.
  """

  def init():
    return {'mean': jnp.zeros(()), 'count': jnp.zeros(())}

  def update(state, observation):
    lengths, where = observation
    real = stats.is_real(lengths, where)
    chex.assert_equal_shape([lengths, real])
    new = jnp.sum(real).astype(state['count'].dtype)
    count = state['count'] + new
    # A sum of tokens would outgrow what float32 can add to.
    step = (stats.mean(lengths, real) - state['mean']) * new / jnp.maximum(count, 1)
    mean = (state['mean'] + step).astype(state['mean'].dtype)
    return {'mean': mean, 'count': count}, mean

  return Controller(init, update)
