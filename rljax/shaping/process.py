"""Scores of steps as rewards that more steps cannot add up: Clip, Delta, and both.

Arrays are `[..., S]`: the steps of a response, of a process reward model, in order; `where` is 1 on
real steps (None: all), which may have gaps. Both at once: `process_delta(process_clip(...))`.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats
from rljax.shaping._steps import next_step, real_steps


def process_clip(
  step_scores: jax.Array, where: jax.Array | None = None, *, eta: float
) -> jax.Array:
  """`min(score - eta, 0)`, `[..., S]`: a step can only lose, so none is worth adding.

  Args:
    step_scores: `[..., S]`.
    where: `[..., S]`, 1 on real steps.
    eta: the score from which a step is good enough; the source's value is not known.
  Returns:
    `[..., S]`, at most 0; 0 where no step is.

  Source: arXiv 2410.15115, as summaries of it agree; a reconstruction.

  >>> process_clip(jnp.array([0.75, 0.25]), eta=0.5)
  Array([ 0.  , -0.25], dtype=float32)
  """
  scores, real, _ = real_steps(step_scores, where)
  return jnp.where(real, jnp.minimum(scores - eta, 0), 0)


def process_delta(step_scores: jax.Array, where: jax.Array | None = None) -> jax.Array:
  """Score less that of the next step, `[..., S]`: from each step on they add up to its own score.

  The last step gets 0 and the one before it keeps its score, so the score of the last step, which
  holds the answer, counts nowhere.

  Args:
    step_scores: `[..., S]`.
    where: `[..., S]`, 1 on real steps.
  Returns:
    `[..., S]`; 0 for a single step.

  Source: arXiv 2410.15115, as summaries of it agree; a reconstruction.

  >>> process_delta(jnp.array([0.75, 0.25, 0.5, 1.0]))
  Array([ 0.5 , -0.25,  0.5 ,  0.  ], dtype=float32)
  """
  scores, real, left = real_steps(step_scores, where)
  following = jnp.where(left > 2, next_step(scores, real), 0)
  return jnp.where(real & (left > 1), scores - following, 0)


def process_total(
  step_rewards: jax.Array, correct: jax.Array, where: jax.Array | None = None, *, alpha: float
) -> jax.Array:
  """`alpha` times the reward of each step, and correctness on the last one, `[..., S]`.

  Args:
    step_rewards: `[..., S]`, of `process_clip` or `process_delta`.
    correct: `[...]`.
    where: `[..., S]`, 1 on real steps; a response without any gets nothing at all.
    alpha: weight of the steps; the source's value is not known.

  Source: arXiv 2410.15115, as summaries of it agree; a reconstruction.

  >>> process_total(jnp.array([-0.25, -0.5, 0.0]), jnp.array(1.0), alpha=2.0)
  Array([-0.5, -1. ,  1. ], dtype=float32)
  """
  chex.assert_equal_shape_prefix([step_rewards, correct], step_rewards.ndim - 1)
  rewards, real, left = real_steps(step_rewards, where)
  outcome = jnp.where(real & (left == 1), stats.as_float(correct)[..., None], 0)
  return alpha * rewards + outcome
