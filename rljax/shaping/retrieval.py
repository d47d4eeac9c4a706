"""GraphRAG-R1: rewards of an agent that looks things up, first for doing it, then for its price.

Training goes through three phases (format, then `pra`, then `caf`): `weighted_sum` of the three
columns with the weights `jax.nn.one_hot(phase, 3)`. All arrays have one shape.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def pra(calls: jax.Array, *, a: float, k: float) -> jax.Array:
  """Progressive retrieval attenuation: `a + a k + a k^2 + ...`, one summand a call.

  Args:
    calls: number of retrievals.
    a: reward of the first call.
    k: what each further call is worth of the one before it, in (0, 1).
  Returns:
    The shape of `calls`; 0 for no call, below `a / (1 - k)` for any number.
  Raises:
    ValueError: `k` is not in (0, 1).

  Source: a reconstruction for arXiv 2507.23581, whose formula and constants were not seen.

  >>> pra(jnp.array([0, 1, 2]), a=1.0, k=0.5)
  Array([0. , 1. , 1.5], dtype=float32)
  """
  if not 0 < k < 1:
    raise ValueError(f'k must lie in (0, 1), so that each further call adds less, not {k}.')
  return a * (1 - jnp.power(k, stats.as_float(calls))) / (1 - k)


def caf(f1: jax.Array, calls: jax.Array, *, a: float, b: float) -> jax.Array:
  """Cost-aware F1: `a f1 exp(-b calls)`.

  Args:
    f1: of the answer, in [0, 1].
    calls: number of retrievals.
    a: reward of a right answer without any.
    b: rate at which calls take of it.
  Returns:
    The shape of `f1`; `a f1` for no call.

  Source: a reconstruction for arXiv 2507.23581, whose formula and constants were not seen.

  >>> caf(jnp.array([0.5]), jnp.array([0]), a=2.0, b=0.1)
  Array([1.], dtype=float32)
  """
  chex.assert_equal_shape([f1, calls])
  return a * stats.as_float(f1) * jnp.exp(-b * stats.as_float(calls))
