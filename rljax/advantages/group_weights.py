"""Weights of groups, `[..., G]` and equal within a group, that multiply any advantage.

The last axis is the group, with at least two axes; `where [..., G]` is 1 on real members (None:
all), and what the others hold is not read.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def adora_vision(
  lengths: jax.Array,
  correct: jax.Array,
  where: jax.Array | None = None,
  *,
  max_length: float,
  lam: float = 0.1,
) -> jax.Array:
  """1 where thinking longer paid or nothing is right, `lam` elsewhere: ADORA for vision.

  Thinking longer paid if the longest right completion is longer than the mean wrong one. Wrong ones
  of `max_length` tokens or more do not enter that mean; without any other it is infinite, and the
  group is damped.

  Args:
    lengths: `[..., G]`, in tokens.
    correct: `[..., G]`, above 0 where right.
    where: `[..., G]`, 1 on real members.
    max_length: in tokens; wrong completions from here on count as cut off. The authors' code has
      4094.
    lam: the weight of damped groups.
  Returns:
    `[..., G]`.

  Source: arXiv 2602.10019; follows weight_func of the authors' experience_maker_vl.py.

  >>> correct = jnp.array([[1.0, 0.0], [1.0, 0.0]])
  >>> adora_vision(jnp.array([[9.0, 5.0], [4.0, 5.0]]), correct, max_length=16)
  Array([[1. , 1. ],
         [0.1, 0.1]], dtype=float32)
  """
  lengths, real, right = _lengths(lengths, correct, where)
  paid = _longer_paid(lengths, real, right, max_length, jnp.inf)
  none_right = ~jnp.any(real & right, axis=-1, keepdims=True)
  return _choose(paid | none_right, 1.0, lam, lengths)


def adora_language(
  lengths: jax.Array,
  correct: jax.Array,
  where: jax.Array | None = None,
  *,
  max_length: float,
  lam: float = 0.1,
) -> jax.Array:
  """1 where thinking longer paid, `lam` elsewhere: ADORA for text, as its code has it.

  As `adora_vision`, but a group without a right completion is damped, and one that has right but no
  wrong completions to compare with is not.

  Args:
    lengths: `[..., G]`, in tokens.
    correct: `[..., G]`, above 0 where right.
    where: `[..., G]`, 1 on real members.
    max_length: in tokens; wrong completions from here on count as cut off. The authors' code has
      4054.
    lam: the weight of damped groups.
  Returns:
    `[..., G]`.

  Source: arXiv 2602.10019; follows the authors' compute_grpo_outcome_advantage_ADORA. The paper
  amplifies instead, which is `adora_amplified`.
  """
  lengths, real, right = _lengths(lengths, correct, where)
  return _choose(_longer_paid(lengths, real, right, max_length, -jnp.inf), 1.0, lam, lengths)


def adora_amplified(
  lengths: jax.Array,
  correct: jax.Array,
  where: jax.Array | None = None,
  *,
  max_length: float,
  tau: float = 0.5,
  amplification: float = 2.0,
) -> jax.Array:
  """`amplification` on hard groups where thinking longer paid, 1 elsewhere: ADORA for text, as its
  paper has it.

  A group is hard if at most a share `tau` of it is right. A group without a right completion, and
  one of which all are right, has weight 1.

  Args:
    lengths: `[..., G]`, in tokens.
    correct: `[..., G]`, above 0 where right.
    where: `[..., G]`, 1 on real members.
    max_length: in tokens; wrong completions from here on count as cut off.
    tau: the largest success rate of a hard group.
    amplification: the weight of the chosen groups.
  Returns:
    `[..., G]`.

  Source: arXiv 2602.10019, a reconstruction: that both conditions must hold is read from accounts
  of the paper; what happens without wrong completions follows the code of `adora_language`.
  """
  lengths, real, right = _lengths(lengths, correct, where)
  paid = _longer_paid(lengths, real, right, max_length, -jnp.inf)
  rate = stats.mean(right, real, axis=-1, keepdims=True)
  return _choose(paid & (rate <= tau), amplification, 1.0, lengths)


def uncertainty_weight(
  predicted: jax.Array,
  where: jax.Array | None = None,
  *,
  alpha: float = 0.2,
  low: float = 1.0,
  high: float = 5.0,
) -> jax.Array:
  """`exp(-alpha u)`, with `u` in [0, 1] how far the scores that the group predicted scatter.

  `u` is the variance of the readable scores, held to `[low, high]`, over the largest possible one.

  Args:
    predicted: `[..., G]`, the number that each completion gave; NaN where none could be read.
    where: `[..., G]`, 1 on real members.
    alpha: strength.
    low: the least score.
    high: the largest score.
  Returns:
    `[..., G]`. 1 for equal scores and for less than two readable ones, `exp(-alpha)` for half of
    them at each end.

  Source: Q-Hawkeye, arXiv 2601.22920; follows the authors' grpo_trainer.py.

  >>> uncertainty_weight(jnp.array([[1.0, 5.0, jnp.nan], [3.0, 3.0, 3.0]]), alpha=1.0)[:, 0]
  Array([0.36787945, 1.        ], dtype=float32)
  """
  chex.assert_shape(predicted, (..., None, None))
  predicted = stats.as_float(predicted)
  readable = stats.is_real(predicted, where) & ~jnp.isnan(predicted)
  scores = jnp.clip(jnp.where(readable, predicted, low), low, high)
  largest = 0.25 * (high - low) ** 2
  spread = stats.variance(scores, readable, axis=-1, keepdims=True) / (largest + 1e-8)
  return jnp.broadcast_to(jnp.exp(-alpha * jnp.clip(spread, 0, 1)), predicted.shape)


def exp_difficulty(iou: jax.Array, where: jax.Array | None = None) -> jax.Array:
  """`exp(1 - m)` of the group's mean overlap `m`, `[..., G]`: 1 where all boxes fit, e where none.

  Args:
    iou: `[..., G]`, intersection over union in [0, 1].
    where: `[..., G]`, 1 on real members.

  Source: UniVG-R1, the setting of its training script; its grpo_trainer.py takes the mean over the
  device's batch, which is one group in that script.

  >>> exp_difficulty(jnp.array([[0.5, 1.5], [0.0, 0.0]]))[:, 0]
  Array([1.       , 2.7182817], dtype=float32)
  """
  return jnp.exp(1 - _group_mean(iou, where))


def power_difficulty(
  iou: jax.Array, where: jax.Array | None = None, *, k: float = 1.0
) -> jax.Array:
  """`(1.05 - m) ** k` of the group's mean overlap `m`, `[..., G]`; see `exp_difficulty`."""
  return (1.05 - _group_mean(iou, where)) ** k


def log_difficulty(iou: jax.Array, where: jax.Array | None = None) -> jax.Array:
  """`-log(0.02 + m)` of the group's mean overlap `m`, `[..., G]`; below 0 for `m` above 0.98.

  See `exp_difficulty`.
  """
  return -jnp.log(0.02 + _group_mean(iou, where))


def _group_mean(x, where):
  chex.assert_shape(x, (..., None, None))
  return jnp.broadcast_to(stats.mean(x, where, axis=-1, keepdims=True), jnp.shape(x))


def _lengths(lengths, correct, where):
  chex.assert_shape(lengths, (..., None, None))
  chex.assert_equal_shape([lengths, correct])
  lengths = stats.as_float(lengths)
  return lengths, stats.is_real(lengths, where), jnp.asarray(correct) > 0


def _longer_paid(lengths, real, right, max_length, without):
  """Whether the longest right one is longer than the mean wrong one, which is `without` if none."""
  longest = jnp.max(lengths, axis=-1, keepdims=True, initial=-jnp.inf, where=real & right)
  wrong = real & ~right & (lengths < max_length)
  mean = stats.mean(lengths, wrong, axis=-1, keepdims=True)
  return longest > jnp.where(jnp.any(wrong, axis=-1, keepdims=True), mean, without)


def _choose(condition, yes, no, like):
  return jnp.where(condition, jnp.full_like(like, yes), no)
