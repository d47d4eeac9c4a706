"""Diversity of the text beside the right answer."""

from __future__ import annotations

import chex
import jax

from rljax import stats


def multirole(correct: jax.Array, diversity: jax.Array, *, delta: float = 0.9) -> jax.Array:
  """`delta * correct + (1 - delta) * diversity`, any shape.

  A group in which all are right keeps a gradient, towards its more diverse texts.

  Args:
    correct: 1 for a right answer, else 0.
    diversity: in [0, 1], such as the mean signal of `rljax.verifiers.diversity_columns`.
    delta: weight of the answer.

  Source: arXiv 2507.20187. Its shaping weight of 0.1 is read as `1 - delta`; the text does not
  equate the two.

  >>> import jax.numpy as jnp
  >>> multirole(jnp.array([1.0, 1.0, 0.0]), jnp.array([0.5, 0.25, 1.0]), delta=0.75)
  Array([0.875 , 0.8125, 0.25  ], dtype=float32)
  """
  chex.assert_equal_shape([correct, diversity])
  return delta * stats.as_float(correct) + (1 - delta) * stats.as_float(diversity)
