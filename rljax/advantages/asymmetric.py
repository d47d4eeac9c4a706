"""APO's two weights of sequences: hold right answers less to the reference, punish long wrong ones
more.

The last axis is the group, `[..., G]`, as in `advantages.grpo`; entries that are not real get 1.
"""

from __future__ import annotations

import math

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def dads(advantages: jax.Array, correct: jax.Array, where: jax.Array | None = None) -> jax.Array:
  """Weight of each sequence's KL penalty (difficulty-adaptive divergence shaping), `[..., G]`.

  `1 - exp(-e (1 - d))` for a positive advantage, with d the share of wrong answers in the group and
  e Euler's number; 1 for all others, and for groups that are all right or all wrong.

  Args:
    advantages: `[..., G]`.
    correct: `[..., G]`, above 0 where the answer is right.
    where: `[..., G]`, 1 on real members.

  Source: APO, arXiv 2506.21655; follows View-R1's calculate_kl_weight, as the paper's equation was
  not seen.

  >>> weights = dads(jnp.array([[1.5, -0.5, -0.5, -0.5]]), jnp.array([[1.0, 0.0, 0.0, 0.0]]))
  >>> [round(float(x), 4) for x in weights[0]]
  [0.4932, 1.0, 1.0, 1.0]
  """
  chex.assert_equal_shape([advantages, correct])
  right, real = _right(correct, where)
  n, solved = (jnp.sum(x, axis=-1, keepdims=True) for x in (real, right))
  share = solved / jnp.maximum(n, 1).astype(stats.as_float(advantages).dtype)
  lighter = real & (advantages > 0) & (solved > 0) & (solved < n)
  return jnp.where(lighter, -jnp.expm1(-math.e * share), 1)


def stcr(
  correct: jax.Array,
  lengths: jax.Array,
  where: jax.Array | None = None,
  *,
  base: float = 1.00001,
) -> jax.Array:
  """Weight of each advantage (suboptimal trajectory complexity regularisation), `[..., G]`.

  `2 - base**-(n - m)` for a wrong answer of n tokens, longer than the mean length m of the right
  ones in its group; 1 for all others, and for groups without a right answer.

  Args:
    correct: `[..., G]`, above 0 where the answer is right.
    lengths: `[..., G]`, in tokens.
    where: `[..., G]`, 1 on real members.
    base: 1000 tokens too many weigh 1.01 at the default, and 2 is the bound.
  Raises:
    ValueError: `base` is not above 1.

  Source: APO, arXiv 2506.21655; follows View-R1's compute_advantages_and_returns.

  >>> stcr(jnp.array([[1.0, 0.0, 0.0]]), jnp.array([[4.0, 5.0, 3.0]]), base=2.0)
  Array([[1. , 1.5, 1. ]], dtype=float32)
  """
  if base <= 1:
    raise ValueError(f'base must be above 1, not {base}: longer answers would weigh less.')
  chex.assert_equal_shape([correct, lengths])
  right, real = _right(correct, where)
  excess = stats.as_float(lengths) - stats.mean(lengths, right, axis=-1, keepdims=True)
  heavier = real & ~right & jnp.any(right, axis=-1, keepdims=True) & (excess > 0)
  return jnp.where(heavier, 1 - jnp.expm1(-math.log(base) * jnp.where(heavier, excess, 0)), 1)


def _right(correct, where):
  """Who is right and who is real."""
  chex.assert_shape(correct, (..., None, None))
  real = stats.is_real(correct, where)
  return real & (correct > 0), real
