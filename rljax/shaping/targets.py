"""Rewards of how near a completion comes to the length that its prompt asks for.

Arrays have one shape, any; lengths and targets are in tokens.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def lcpo_exact(
  correct: jax.Array, lengths: jax.Array, targets: jax.Array, *, alpha: float = 0.0003
) -> jax.Array:
  """Correctness less `alpha` for every token too many or too few.

  Args:
    correct: 1 where the answer is right, else 0.
    lengths: the same shape.
    targets: the same shape.
    alpha: cost of a token, for wrong answers too.
  Returns:
    The same shape; without a lower bound.

  Source: arXiv 2503.04697 (L1, LCPO-Exact); the authors' math_reward.py.

  >>> lcpo_exact(jnp.array([1.0, 0.0]), jnp.array([90.0, 150.0]), jnp.full(2, 100.0), alpha=0.01)
  Array([ 0.9, -0.5], dtype=float32)
  """
  chex.assert_equal_shape([correct, lengths, targets])
  distance = jnp.abs(stats.as_float(targets) - stats.as_float(lengths))
  return stats.as_float(correct) - alpha * distance


def lcpo_max(
  correct: jax.Array,
  lengths: jax.Array,
  targets: jax.Array,
  *,
  alpha: float = 0.0003,
  delta: float = 0.5,
) -> jax.Array:
  """Correctness times how far the answer stays below its target: `alpha * left + delta` in [0, 1].

  Args:
    correct: 1 where the answer is right, else 0.
    lengths: the same shape.
    targets: the same shape, the most tokens that there should be.
    alpha: gain of a token that is left.
    delta: reward of a right answer of exactly the target.
  Returns:
    The same shape; 0 for wrong answers.

  Source: arXiv 2503.04697 (L1, LCPO-Max), whose text is followed. The authors' math_reward.py
  writes `(clip(a * left, -1, 1) + 1) / 2`, which is this with `alpha = a / 2`; their script leaves
  `a` open.

  >>> lcpo_max(jnp.ones(3), jnp.array([100.0, 80.0, 999.0]), jnp.full(3, 100.0), alpha=0.0125)
  Array([0.5 , 0.75, 0.  ], dtype=float32)
  """
  chex.assert_equal_shape([correct, lengths, targets])
  left = stats.as_float(targets) - stats.as_float(lengths)
  return stats.as_float(correct) * jnp.clip(alpha * left + delta, 0, 1)
