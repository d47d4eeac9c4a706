"""Importance ratios of the policy being trained to the policy that the update started from.

`logp` carries the gradient, `old_logp` is data. `old_logp` None means the first and only update on
a batch: the ratio is 1 by value and its gradient that of `logp`. Log-ratios are clamped to +-20,
beyond which the gradient is 0. The token functions do not know the mask: what stands at padding
there is the caller's to leave out.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats

_LIMIT = 20.0  # exp(20) is 5e8, far outside of any clip range and far inside float32


def log_ratio(logp: jax.Array, old_logp: jax.Array | None = None) -> jax.Array:
  """`logp - old_logp`, clamped; any shape, at least float32."""
  return _clamp(_difference(logp, old_logp))


def token(logp: jax.Array, old_logp: jax.Array | None = None) -> jax.Array:
  """Ratio of each token, `[..., T]`.

  >>> token(jnp.log(jnp.array([[0.5, 0.2]])), jnp.log(jnp.array([[0.25, 0.2]])))
  Array([[2., 1.]], dtype=float32)
  """
  return jnp.exp(log_ratio(logp, old_logp))


def sequence(logp: jax.Array, old_logp: jax.Array | None, mask: jax.Array) -> jax.Array:
  """GSPO's ratio: the geometric mean of the token ratios of each sequence.

  Args:
    logp: `[..., T]`.
    old_logp: `[..., T]` or None.
    mask: `[..., T]`, 1 on trained tokens; the others are not read.
  Returns:
    `[..., 1]`; 1 without gradient for an empty sequence. The mean is clamped, not each token.

  Source: arXiv 2507.18071; verl caps the logarithm at 10 where this clamps to +-20.
  """
  logp, old_logp = _only_real(logp, old_logp, mask)
  return jnp.exp(_clamp(_mean_log_ratio(logp, old_logp, mask)))


def sequence_token(logp: jax.Array, old_logp: jax.Array | None, mask: jax.Array) -> jax.Array:
  """GSPO-token's ratio: the value of `sequence`, with the gradient of each token's own `logp`.

  Args and source as in `sequence`.

  Returns:
    `[..., T]`; where `mask` is 0 the gradient is 0, and so it is for a sequence beyond the clamp.
  """
  logp, old_logp = _only_real(logp, old_logp, mask)
  whole = jax.lax.stop_gradient(_mean_log_ratio(logp, old_logp, mask))
  return jnp.exp(_clamp(whole + _difference(logp, None)))


def geometric(
  logp: jax.Array,
  old_logp: jax.Array | None,
  mask: jax.Array,
  advantages: jax.Array,
  *,
  low: float | jax.Array = 0.4,
  high: float | jax.Array = 0.4,
) -> jax.Array:
  """GMPO's ratio: the geometric mean of token ratios that were clipped one by one.

  A token's log-ratio is held below `high` where the advantage is positive and above `-low` where it
  is negative; a token that is held counts in the mean and has no gradient.

  Args:
    logp: `[..., T]`.
    old_logp: `[..., T]` or None.
    mask: `[..., T]`, 1 on trained tokens; the others are not read.
    advantages: `[..., 1]`, one a sequence; only their sign is read.
    low: bound of the log-ratio below 0, a number or `[..., T]`.
    high: bound above 0.
  Returns:
    `[..., 1]`; 1 without gradient for an empty sequence. The mean is clamped, not each token.

  Source: arXiv 2507.20673; bounds of the authors' train_zero_math_gmpo.py. verl takes its clip
  ranges of the ratio, 0.2, for bounds of the logarithm.
  """
  chex.assert_axis_dimension(advantages, -1, 1)
  logp, old_logp = _only_real(logp, old_logp, mask)
  d = _difference(logp, old_logp)
  held = jnp.where(advantages > 0, jnp.where(d > high, high, d), jnp.where(d < -low, -low, d))
  return jnp.exp(_clamp(stats.mean(held, mask, axis=-1, keepdims=True)))


def _difference(logp, old_logp):
  logp = stats.as_float(logp)
  old_logp = logp if old_logp is None else stats.as_float(old_logp)
  chex.assert_equal_shape([logp, old_logp])
  return logp - jax.lax.stop_gradient(old_logp)


def _mean_log_ratio(logp, old_logp, mask):
  return stats.mean(_difference(logp, old_logp), mask, axis=-1, keepdims=True)


def _clamp(x):
  # Not jnp.clip: at the bound itself that halves the gradient.
  return jnp.where(x > _LIMIT, _LIMIT, jnp.where(x < -_LIMIT, -_LIMIT, x))


def _only_real(logp, old_logp, mask):
  """Zeros where the mask is 0, so that nothing there reaches a value or a gradient."""
  real = stats.is_real(logp, mask)
  logp = jnp.where(real, logp, 0)
  return logp, None if old_logp is None else jnp.where(real, old_logp, 0)
