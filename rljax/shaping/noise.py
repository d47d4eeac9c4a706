"""Rewards that are wrong: noise to try a method with, and a mend for a reward model's mistakes."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def group_flip(
  key: jax.Array, correct: jax.Array, where: jax.Array | None = None, *, probability: float
) -> jax.Array:
  """`1 - correct` on all members of a group, with a coin for each group; else `correct`.

  A flipped group has its advantages negated; flips of single members would shrink them.

  Args:
    key: drawn from once.
    correct: `[..., G]`.
    where: `[..., G]`, 1 on real members.
    probability: of a flip; up to 0.4 the authors' models still learn.
  Returns:
    `[..., G]`, 0 where not real.

  Source: reward_manager/naive.py of the authors
  (github.com/trestad/Noisy-Rewards-in-Learning-to-Reason).

  >>> group_flip(jax.random.key(0), jnp.array([[1.0, 0.0, 0.0]]), probability=1.0)
  Array([[0., 1., 1.]], dtype=float32)
  """
  chex.assert_shape(correct, (..., None, None))
  correct, real = stats.as_float(correct), stats.is_real(correct, where)
  flipped = jax.random.bernoulli(key, probability, (*correct.shape[:-1], 1))
  return jnp.where(real, jnp.where(flipped, 1 - correct, correct), 0)


def rpr_calibrate(
  score: jax.Array, pattern: jax.Array, *, threshold: float = 0.5, weight: float = 0.1
) -> jax.Array:
  """A reward model's score, raised by the pattern of the reasoning where it is below `threshold`.

  `min(1, score + weight pattern)` there: a low score may be a false negative.

  Args:
    score: of the reward model, any shape.
    pattern: `rljax.verifiers.rpr_score`, in [0, 1], the same shape.
    threshold: from which on the score stays as it is.
    weight: of the pattern.

  Source: fsdp_workers.py of the authors (github.com/trestad/Noisy-Rewards-in-Learning-to-Reason).

  >>> rpr_calibrate(jnp.array([0.25, 0.75]), jnp.array([1.0, 1.0]))
  Array([0.35, 0.75], dtype=float32)
  """
  chex.assert_equal_shape([score, pattern])
  score = stats.as_float(score)
  return jnp.where(score < threshold, jnp.minimum(1, score + weight * pattern), score)
