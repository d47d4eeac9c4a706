"""RLPT: rewards of predicting the next piece of a text."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def rlpt(valid: jax.Array, middle: jax.Array, *, middle_weight: float) -> jax.Array:
  """1 where the predicted segment is a valid beginning of what follows in the text, else 0.

  Predictions from what precedes only (ASR) count 1, those that also see the segment after the gap
  (MSR) `middle_weight`: the policy gradient of the sum of both expectations. An advantage that
  divides by its group's deviation takes the weight out again; centre rewards instead
  (`methods.dr_grpo`).

  Args:
    valid: `[*N]`, above 0 where a judge accepts the segment; 0 where none could be extracted.
    middle: `[*N]`, above 0 on MSR samples.
    middle_weight: the paper's lambda, in (0, 1); it names no value.
  Raises:
    ValueError: `middle_weight` is negative.

  Source: arXiv 2509.19249, equations 4 and 5.

  >>> rlpt(jnp.array([1.0, 1.0, 0.0]), jnp.array([0.0, 1.0, 1.0]), middle_weight=0.5)
  Array([1. , 0.5, 0. ], dtype=float32)
  """
  if middle_weight < 0:
    raise ValueError(f'middle_weight must not be negative, not {middle_weight}.')
  chex.assert_equal_shape([valid, middle])
  accepted = (valid > 0).astype(stats.as_float(valid).dtype)
  return jnp.where(middle > 0, middle_weight * accepted, accepted)
