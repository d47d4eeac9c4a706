"""A limit of length beyond which an answer earns nothing, and where to set it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def within_limit(correct: jax.Array, lengths: jax.Array, *, limit: float | jax.Array) -> jax.Array:
  """Correctness, 0 beyond `limit` tokens; an answer of exactly `limit` counts.

  Args:
    correct: any shape.
    lengths: the same shape, in tokens.
    limit: a number, or one each.

  Source: arXiv 2504.01296 (ThinkPrune), which has the limit of generation cut answers off.

  >>> within_limit(jnp.array([1.0, 1.0, 0.0]), jnp.array([10.0, 11.0, 5.0]), limit=10)
  Array([1., 0., 0.], dtype=float32)
  """
  chex.assert_equal_shape([correct, lengths])
  return jnp.where(stats.as_float(lengths) <= limit, stats.as_float(correct), 0)


def limit_of_step(
  step: int | jax.Array, *, limits: Sequence[float] = (4000, 3000), steps: int = 180
) -> jax.Array:
  """The limit of a round: the next of `limits` after every `steps` steps, the last one for ever.

  Args:
    step: from 0.
    limits: of each round, in tokens, none above the one before.
    steps: of each round but the last.
  Returns:
    float32, the shape of `step`.

  Raises:
    ValueError: no limits, a growing one, or rounds without a step.

  Source: arXiv 2504.01296 (ThinkPrune): the limits and the step of the checkpoint from which the
  second round goes on are those of the authors' README.

  >>> [int(limit_of_step(step, limits=(40, 30, 20), steps=10)) for step in (0, 9, 10, 25, 99)]
  [40, 40, 30, 20, 20]
  """
  if not limits or any(b > a for a, b in itertools.pairwise(limits)) or steps < 1:
    raise ValueError(
      f'Rounds need limits of which none is above the one before, and a step each at least; not '
      f'limits {tuple(limits)} and steps {steps}.'
    )
  return _of_level(jnp.asarray(step) // steps, limits, jnp.float32)


def da_dler_limits(
  correct: jax.Array,
  where: jax.Array | None = None,
  *,
  thresholds: Sequence[float] = (0.5,),
  limits: Sequence[float] = (4000, 2000),
) -> jax.Array:
  """Limit of length by difficulty: shorter where more of a group's answers are right.

  Args:
    correct: `[..., G]`, 1 on right answers, else 0; the last axis is the group.
    where: `[..., G]`, 1 on real members; None means all.
    thresholds: shares of right answers, rising.
    limits: in tokens, one more than thresholds: the k-th where k thresholds are reached.
  Returns:
    `[..., G]`, the group's limit on each member, 0 where nobody is. A share of exactly a threshold
    reaches it.

  Raises:
    ValueError: limits that are not one more than thresholds.

  Source: arXiv 2510.15110, section 3.5 (DA-DLER), which does not say on which side a share of
  exactly a threshold is; the released code does not have it.

  >>> da_dler_limits(jnp.array([[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]))[:, 0]
  Array([2000., 4000.], dtype=float32)
  """
  if len(limits) != len(thresholds) + 1:
    raise ValueError(
      f'{len(thresholds)} thresholds tell {len(thresholds) + 1} limits apart, not {len(limits)}.'
    )
  chex.assert_shape(correct, (..., None, None))
  real = stats.is_real(correct, where)
  share = stats.mean(correct, real, axis=-1, keepdims=True)
  reached = sum(
    ((share >= d).astype(jnp.int32) for d in thresholds), jnp.zeros_like(share, dtype=jnp.int32)
  )
  found = _of_level(reached, limits, share.dtype)
  return jnp.where(real, jnp.broadcast_to(found, real.shape), 0)


def _of_level(level, limits, dtype):
  """`limits[level]`, the last one beyond."""
  found = jnp.full_like(level, limits[0], dtype=dtype)
  for k, limit in enumerate(limits[1:], 1):
    found = jnp.where(level >= k, jnp.asarray(limit, dtype), found)
  return found
