"""Distillation from right and wrong traces of a teacher."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def redi(
  log_likelihood: jax.Array, right: jax.Array, *, alpha: float = 0.8, gamma: float = 0.0
) -> jax.Array:
  """`-log_likelihood` of a right trace, `alpha log_likelihood` of a wrong one; no reference, no
  sigmoid.

  It is unbounded below: a wrong trace is pushed down for ever, the less `alpha`, the more slowly.
  With `gamma` the wrong trace's term is times `exp(gamma log_likelihood)`, which carries gradient.

  Args:
    log_likelihood: any shape, the mean log-probability of a sequence's tokens.
    right: the same shape, 1 on right traces, 0 on wrong ones.
    alpha: weight of the wrong traces; 0 is supervised training on the right ones.
    gamma: how fast a wrong trace is let go as it becomes unlikely.
  Returns:
    The same shape, a loss a sequence; a pair's is the sum of its two.

  Source: arXiv 2505.24850; `gamma` is in the authors' dpo2_trainer.py only.

  >>> redi(jnp.array([[-1.0, -2.0]]), jnp.array([[1, 0]]))
  Array([[ 1. , -1.6]], dtype=float32)
  """
  chex.assert_equal_shape([log_likelihood, right])
  s = stats.as_float(log_likelihood)
  return jnp.where(jnp.asarray(right) > 0, -s, alpha * s * jnp.exp(gamma * s))
