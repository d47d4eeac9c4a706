"""DAST: a budget of tokens by difficulty."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def dast(
  correct: jax.Array, lengths: jax.Array, where: jax.Array | None = None, *, max_length: int
) -> jax.Array:
  """A score of each response that falls with its length over a budget, if it is right.

  The budget is `p` times the mean length of the right answers plus `1 - p` times `max_length`, p
  the group's share of right answers. With `d = length / budget - 1` a right answer scores
  `max(0.5 - 0.5 d, 0.1)` and a wrong one `min(0.9 d - 0.1, -0.1)`. The source ranks pairs by it for
  a preference loss.

  Args:
    correct: `[..., G]`, above 0 where the answer is right; the last axis is the group.
    lengths: `[..., G]`, in tokens.
    where: `[..., G]`, 1 on real members; None means all.
    max_length: longest completion, in tokens.
  Returns:
    `[..., G]`. With no right answer the budget is `max_length`.

  Source: arXiv 2503.04472, from one secondary account of it.

  >>> dast(jnp.array([[1.0, 1.0, 0.0, 0.0]]), jnp.array([[20, 40, 65, 130]]), max_length=100)
  Array([[ 0.84615386,  0.6923077 , -0.1       , -0.1       ]], dtype=float32)
  """
  chex.assert_shape(correct, (..., None, None))
  chex.assert_equal_shape([correct, lengths])
  real = stats.is_real(correct, where)
  right, lengths = real & (correct > 0), stats.as_float(lengths)
  share = stats.mean(right.astype(lengths.dtype), real, axis=-1, keepdims=True)
  typical = stats.mean(lengths, right, axis=-1, keepdims=True)
  budget = share * typical + (1 - share) * max_length
  excess = jnp.where(real, lengths, 0) / jnp.where(budget > 0, budget, 1) - 1
  score = jnp.where(
    right, jnp.maximum(0.5 - 0.5 * excess, 0.1), jnp.minimum(0.9 * excess - 0.1, -0.1)
  )
  return jnp.where(real, score, 0)
