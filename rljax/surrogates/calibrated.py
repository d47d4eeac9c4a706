"""Pulling a policy towards, and pushing it from, the confidence of an expert."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def calibrated(
  logp: jax.Array,
  expert_logp: jax.Array,
  advantages: jax.Array,
  correct: jax.Array,
  *,
  alpha: float = 0.5,
) -> jax.Array:
  """`|A| leaky_relu(-s (logp - expert_logp))`, with s 1 for right answers and -1 for wrong ones.

  The gradient in `logp` is `-s |A|` while a right answer is below the expert's level, or a wrong
  one above it, and `alpha` times that at the level and past it.

  Args:
    logp: `[..., T]`.
    expert_logp: `[..., T]`, a constant.
    advantages: `[..., T]` or `[..., 1]`, a constant.
    correct: `[...]`, above 0 where the answer is right.
    alpha: slope past the expert's level.
  Returns:
    `[..., T]`, a loss; 0 where the advantage is 0.

  Source: CalibRL, arXiv 2602.20197; follows the authors' core_algos.py, `expert-guided`, where
  `expert_logp` is the expert's own sequence under the old policy, taken position by position. The
  paper compares whole trajectories: for that, give the expert's mean at every position.

  >>> calibrated(
  ...   jnp.array([[-1.0, -3.0]]), jnp.full((1, 2), -2.0), jnp.array([[0.5]]), jnp.ones(1)
  ... )
  Array([[-0.25,  0.5 ]], dtype=float32)
  """
  chex.assert_equal_shape([logp, expert_logp])
  chex.assert_rank(correct, logp.ndim - 1)
  gap = stats.as_float(logp) - jax.lax.stop_gradient(stats.as_float(expert_logp))
  missed = jnp.where(correct[..., None] > 0, -gap, gap)
  strength = jnp.abs(jax.lax.stop_gradient(advantages))
  return strength * jnp.where(missed > 0, missed, alpha * missed)
