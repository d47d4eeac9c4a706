"""Rewards that move along half a cosine with the length; all arrays have one shape."""

from __future__ import annotations

import math

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def cosine_length(
  correct: jax.Array,
  lengths: jax.Array,
  *,
  limit: int,
  right_short: float = 2.0,
  right_long: float = 1.0,
  wrong_short: float = -10.0,
  wrong_long: float = 0.0,
  exceeded: float = -10.0,
  margin: int = 16,
) -> jax.Array:
  """Less for long right answers, more for long wrong ones, and `exceeded` at the limit.

  Args:
    correct: above 0 where the answer is right.
    lengths: the same shape, in tokens.
    limit: longest completion, in tokens.
    right_short: reward of a right answer of length 0.
    right_long: what it falls to at `limit`.
    wrong_short: reward of a wrong answer of length 0.
    wrong_long: what it rises to at `limit`.
    exceeded: reward, right or wrong, from `margin` tokens before `limit` on.
    margin: in tokens.

  Source: arXiv 2502.03373; follows the authors' openrlhf/reward/cosine.py, where wrong answers
  also pay for repetition (`repetition`).

  >>> correct, lengths = jnp.array([1.0, 1.0, 0.0, 1.0]), jnp.array([0, 50, 50, 84])
  >>> cosine_length(correct, lengths, limit=100).round(2)
  Array([  2. ,   1.5,  -5. , -10. ], dtype=float32)
  """
  share = stats.as_float(lengths) / limit
  reward = _cosine(correct, share, right_short, right_long, wrong_short, wrong_long)
  return jnp.where(stats.as_float(lengths) + margin >= limit, exceeded, reward)


def cosine_length_clamped(
  correct: jax.Array,
  lengths: jax.Array,
  *,
  limit: int,
  right_short: float = 1.0,
  right_long: float = 0.5,
  wrong_short: float = -1.0,
  wrong_long: float = -0.5,
) -> jax.Array:
  """`cosine_length` without a punishment at the limit: beyond it the reward stays where it is.

  Args as there.

  Source: TRL's get_cosine_scaled_reward, with its defaults (its max_len is 1000).
  """
  share = jnp.minimum(stats.as_float(lengths) / limit, 1)
  return _cosine(correct, share, right_short, right_long, wrong_short, wrong_long)


def _cosine(correct, share, right_short, right_long, wrong_short, wrong_long):
  chex.assert_equal_shape([correct, share])
  right = correct > 0
  short = jnp.where(right, jnp.full_like(share, right_short), wrong_short)
  long = jnp.where(right, jnp.full_like(share, right_long), wrong_long)
  return long + (short - long) * (1 + jnp.cos(math.pi * share)) / 2
