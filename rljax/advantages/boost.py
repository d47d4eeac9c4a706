"""A bonus after everything is standardised."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def boost(
  advantages: jax.Array, scores: jax.Array, *, bonus: float = 0.1, threshold: float = 1.0
) -> jax.Array:
  """Advantages and a `bonus` on sequences whose score is `threshold` or above, to within 1e-5.

  It keeps right answers from being pushed down, and leaves no mean of 0.

  Args:
    advantages: `[...]`, or `[..., T]` beside scores of one axis less.
    scores: `[...]`.
    bonus: what is added.
    threshold: the score of a right answer.

  Source: the released code of arXiv 2510.15110 (DLER), dp_actor.py's boost_high_score_advantages;
  the paper does not have it.

  >>> boost(jnp.array([0.5, -0.5]), jnp.array([1.0, 0.0]), bonus=0.25)
  Array([ 0.75, -0.5 ], dtype=float32)
  """
  chex.assert_rank(advantages, {scores.ndim, scores.ndim + 1})
  chex.assert_equal_shape_prefix([advantages, scores], scores.ndim)
  right = stats.as_float(scores) >= threshold - 1e-5
  if advantages.ndim > scores.ndim:
    right = right[..., None]
  return stats.as_float(advantages) + jnp.where(right, bonus, 0.0)
