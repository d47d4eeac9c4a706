"""Rewards of a completion's length beside those of the others of its prompt.

`correct` and `lengths` are `[..., G]`, the last axis is the group, and `where` `[..., G]` is 1 on
real members (None: all). A completion is right where `correct` is above 0; lengths are in tokens.
Entries that are not real get 0.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def relative_length(
  correct: jax.Array,
  lengths: jax.Array,
  where: jax.Array | None = None,
  *,
  alpha: float = 0.1,
  eps: float = 1e-7,
) -> jax.Array:
  """Correctness, less up to `alpha` of it the longer it took in comparison with right answers.

  `correct * (1 - alpha * sigmoid(z))`, with z the length standardised over the right answers of the
  group (ddof 0).

  Args:
    correct: `[..., G]`.
    lengths: `[..., G]`.
    where: `[..., G]`.
    alpha: what an answer without end would lose.
    eps: added to the deviation.
  Returns:
    `[..., G]`; 0 for wrong answers. The only right answer, and right ones of equal length, get
    `1 - alpha / 2`.

  Source: arXiv 2502.04463; follows the authors' math_server.py, which counts the tokens of the text
  anew. It is also the length reward of arXiv 2505.18086 (GRPO-lambda).

  >>> relative_length(jnp.array([[1.0, 1.0, 0.0]]), jnp.array([[10.0, 10.0, 99.0]]), alpha=0.5)
  Array([[0.75, 0.75, 0.  ]], dtype=float32)
  """
  correct, lengths, real = _group(correct, lengths, where)
  right = real & (correct > 0)
  distance = lengths - stats.mean(lengths, right, axis=-1, keepdims=True)
  scale = stats.std(lengths, right, axis=-1, keepdims=True) + eps
  # A remainder of rounding in a mean must not be divided by eps alone.
  z = jnp.where(stats.is_constant(lengths, right), 0, distance / jnp.where(scale > 0, scale, 1))
  return jnp.where(right, correct * (1 - alpha * jax.nn.sigmoid(z)), 0)


def kimi_length(
  correct: jax.Array, lengths: jax.Array, where: jax.Array | None = None
) -> jax.Array:
  """From 1/2 for the shortest answer of a group to -1/2 for the longest; wrong ones at most 0.

  To be added to the reward with a weight.

  Args:
    correct: `[..., G]`.
    lengths: `[..., G]`; wrong answers take part in the shortest and the longest.
    where: `[..., G]`.
  Returns:
    `[..., G]`; 0 where all lengths are equal, as in a group of one.

  Source: arXiv 2501.12599, as two secondary texts state it.

  >>> kimi_length(jnp.array([[1.0, 0.0, 1.0, 0.0]]), jnp.array([[10.0, 10.0, 20.0, 30.0]]))
  Array([[ 0.5,  0. ,  0. , -0.5]], dtype=float32)
  """
  correct, lengths, real = _group(correct, lengths, where)
  low = jnp.min(lengths, axis=-1, keepdims=True, initial=jnp.inf, where=real)
  high = jnp.max(lengths, axis=-1, keepdims=True, initial=-jnp.inf, where=real)
  varies = high > low
  share = jnp.where(real & varies, lengths - low, 0) / jnp.where(varies, high - low, 1)
  reward = 0.5 - share
  reward = jnp.where(correct > 0, reward, jnp.minimum(reward, 0))
  return jnp.where(real & varies, reward, 0)


def shorter_better(
  correct: jax.Array,
  lengths: jax.Array,
  where: jax.Array | None = None,
  *,
  alpha: float = 2.0,
  beta: float = 0.001,
) -> jax.Array:
  """Correctness less the distance to the length of the shortest right answer of the group.

  `alpha * correct - beta * |length - target|`. Where nobody is right the target is the mean length,
  so such a group is trained as well, towards one length.

  Args:
    correct: `[..., G]`.
    lengths: `[..., G]`.
    where: `[..., G]`.
    alpha: reward of a right answer.
    beta: cost of a token too many or too few.
  Returns:
    `[..., G]`; `alpha` for the shortest right answer.

  Source: arXiv 2504.21370; constants and the mean follow the authors' naive.py.

  >>> shorter_better(jnp.array([[1.0, 1.0, 0.0]]), jnp.array([[40.0, 80.0, 30.0]]), beta=0.025)
  Array([[ 2.  ,  1.  , -0.25]], dtype=float32)
  """
  correct, lengths, real = _group(correct, lengths, where)
  right = real & (correct > 0)
  shortest = jnp.min(lengths, axis=-1, keepdims=True, initial=jnp.inf, where=right)
  middle = stats.mean(lengths, real, axis=-1, keepdims=True)
  target = jnp.where(jnp.any(right, axis=-1, keepdims=True), shortest, middle)
  return jnp.where(real, alpha * correct - beta * jnp.abs(lengths - target), 0)


def alp(
  correct: jax.Array,
  lengths: jax.Array,
  where: jax.Array | None = None,
  *,
  beta: float = 1e-7,
) -> jax.Array:
  """Correctness less a price of every token that grows with the solve rate of the prompt.

  `correct - beta * length * max(rate, 1 / G)`, for wrong answers too.

  Args:
    correct: `[..., G]`.
    lengths: `[..., G]`.
    where: `[..., G]`, of G real members.
    beta: price of a token where all answers are right. At 1e-7 one token is hardly more than the
      distance of two numbers near 1 in float32.
  Returns:
    `[..., G]`. The floor leaves a small price where no answer is right.

  Source: arXiv 2506.05256. A reconstruction in that lengths are raw numbers of tokens, with which
  alone the paper's `beta` makes sense.

  >>> alp(jnp.array([[1.0, 0.0]]), jnp.array([[100.0, 200.0]]), beta=0.01)
  Array([[ 0.5, -1. ]], dtype=float32)
  """
  correct, lengths, real = _group(correct, lengths, where)
  size = jnp.maximum(jnp.sum(real, axis=-1, keepdims=True), 1).astype(correct.dtype)
  rate = jnp.maximum(stats.mean(correct, real, axis=-1, keepdims=True), 1 / size)
  return jnp.where(real, correct - beta * lengths * rate, 0)


def _group(correct, lengths, where):
  """Both as floats of one type, 0 where nobody is, and who is real."""
  chex.assert_shape(correct, (..., None, None))
  chex.assert_equal_shape([correct, lengths])
  correct, lengths = stats.as_float(correct), stats.as_float(lengths)
  real = stats.is_real(correct, where)
  return jnp.where(real, correct, 0), jnp.where(real, lengths, 0), real
