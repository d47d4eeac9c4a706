"""Advantages from whether an answer is right alone, without a baseline."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import stats


def signed(correct: jax.Array, *, right: float = 0.1, wrong: float = -1.0) -> jax.Array:
  """`right` where `correct` is 1, `wrong` everywhere else; any shape.

  There is no group, so equal rewards are no special case.

  Source: W-REINFORCE of arXiv 2506.01347 and its default of `right`.

  >>> signed(jnp.array([1.0, 0.0, -1.0]))
  Array([ 0.1, -1. , -1. ], dtype=float32)
  """
  correct = stats.as_float(correct)
  return jnp.where(correct == 1, jnp.full_like(correct, right), jnp.full_like(correct, wrong))
