"""Several rewards of one response, some of which count only once others are good enough."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def gated_accumulation(rewards: jax.Array, thresholds: jax.Array) -> jax.Array:
  """Sum of the levels above which all levels pass their threshold, `[*N]`.

  So rewards of steps cannot be collected without the outcome. In software engineering the outcome
  takes four ordered values (nothing submitted, an empty patch, a failing one, a passing one), and
  its threshold is the second: format and tool use then count from a failing patch on.

  Args:
    rewards: `[*N, K]`, the total of each level, the least important first.
    thresholds: `[K]`; a level passes strictly above its own. That of the first is never read.
  Returns:
    `[*N]`. The highest level always counts.

  Source: arXiv 2508.10548, as notes on it agree; a reconstruction, whose constants were not seen.

  >>> steps_and_outcome = jnp.array([[0.5, 0.0], [0.5, 1.0]])
  >>> gated_accumulation(steps_and_outcome, jnp.array([0.0, 0.0]))
  Array([0. , 1.5], dtype=float32)
  """
  chex.assert_shape(thresholds, (rewards.shape[-1],))
  rewards = stats.as_float(rewards)
  passes = rewards > jnp.broadcast_to(thresholds, rewards.shape)
  higher = jnp.concatenate([passes[..., 1:], jnp.ones_like(passes[..., :1])], axis=-1)
  counts = jnp.flip(jnp.cumprod(jnp.flip(higher, -1), axis=-1), -1)
  return jnp.sum(jnp.where(counts > 0, rewards, 0), axis=-1)


def progressive(scores: jax.Array, weights: jax.Array) -> jax.Array:
  """Weighted sum of the stages up to the first one that is not complete, `[*N]`.

  Stages are, say, a response that parses, a tool call that is well-formed, the quality of the
  answer; for short answers the latter is `rljax.verifiers.length_aware_bleu`, for long ones a
  judge.

  Args:
    scores: `[*N, K]`, in order; complete at 1. A stage that is not is paid in part, and ends it.
    weights: `[K]`.

  Source: a reconstruction for arXiv 2512.07478, of which a digest gives the structure.

  >>> stages = jnp.array([[1.0, 1.0, 0.5], [1.0, 0.5, 1.0], [0.0, 1.0, 1.0]])
  >>> progressive(stages, jnp.array([1.0, 1.0, 2.0]))
  Array([3. , 1.5, 0. ], dtype=float32)
  """
  chex.assert_shape(weights, (scores.shape[-1],))
  scores = stats.as_float(scores)
  complete = scores >= 1
  earlier = jnp.concatenate([jnp.ones_like(complete[..., :1]), complete[..., :-1]], axis=-1)
  counts = jnp.cumprod(earlier, axis=-1) > 0
  return jnp.sum(jnp.where(counts, scores * jnp.broadcast_to(weights, scores.shape), 0), axis=-1)
