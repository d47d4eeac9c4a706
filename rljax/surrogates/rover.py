"""ROVER's regression of log-ratios on a Bellman target, in place of a policy gradient."""

from __future__ import annotations

import math

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def rover_target(
  rewards: jax.Array,
  mean_logp: jax.Array,
  old_mean_logp: jax.Array | None,
  mask: jax.Array,
  *,
  rho: float = 1.0,
  eta: float = 1.0,
) -> jax.Array:
  """Reward plus the value of what follows under the uniform policy, `[..., T]`, a constant.

  The value of a position is `rho` times the mean over the vocabulary of `log(policy / old policy)`
  there. The last position, and one before a masked token, are followed by nothing.

  Args:
    rewards: `[..., 1]` or `[..., T]`, given to every token.
    mean_logp: `[..., T]`, `vocabulary.mean_logp` of the policy being trained.
    old_mean_logp: `[..., T]`, of the old policy; None on the first and only update, with values 0.
    mask: `[..., T]`.
    rho: scale of the log-ratio as a value.
    eta: weight of the value of what follows.

  Source: arXiv 2509.24981; follows the authors' Countdown dp_actor.py.
  """
  chex.assert_equal_shape([mean_logp, mask])
  real = stats.is_real(mean_logp, mask)
  old = mean_logp if old_mean_logp is None else old_mean_logp
  value = jnp.where(real, stats.as_float(mean_logp), 0) - jnp.where(real, stats.as_float(old), 0)
  following = jnp.concatenate([value[..., 1:], jnp.zeros_like(value[..., :1])], axis=-1)
  return jax.lax.stop_gradient(rewards + eta * rho * following)


def rover(
  logp: jax.Array, old_logp: jax.Array | None, target: jax.Array, *, rho: float = 1.0
) -> jax.Array:
  """Squared distance of `rho` times the log-ratio to the target, `[..., T]`.

  On-policy its gradient is `-2 rho target`: a policy gradient with twice the centred reward.

  Args:
    logp: `[..., T]`.
    old_logp: `[..., T]`, or None on the first and only update.
    target: `[..., T]`, a constant.
    rho: as in `rover_target`.

  Source: arXiv 2509.24981; follows the authors' compute_rover_loss.

  >>> jax.grad(lambda logp: rover(logp, None, jnp.array([[0.5]])).sum())(jnp.array([[-1.0]]))
  Array([[-1.]], dtype=float32)
  """
  return (_value(logp, old_logp, rho) - jax.lax.stop_gradient(target)) ** 2


def rover_clipped(
  logp: jax.Array,
  old_logp: jax.Array | None,
  target: jax.Array,
  *,
  clip: float,
  rho: float = 1.0,
) -> jax.Array:
  """`rover` without gradient where the value has left `log(1 -+ clip)` on the way to its target.

  Such a value counts as the bound that it has passed. A value beyond a bound that is drawn back
  keeps its gradient. Raises ValueError unless `0 < clip < 1`.
  """
  if not 0 < clip < 1:
    raise ValueError(f'clip bounds the ratio to 1 -+ clip and must lie in (0, 1), not {clip}.')
  value, target = _value(logp, old_logp, rho), jax.lax.stop_gradient(target)
  high, low = math.log1p(clip), math.log1p(-clip)
  value = jnp.where((target > value) & (value > high), high, value)
  value = jnp.where((target < value) & (value < low), low, value)
  return (value - target) ** 2


def _value(logp, old_logp, rho):
  logp = stats.as_float(logp)
  old_logp = logp if old_logp is None else stats.as_float(old_logp)
  chex.assert_equal_shape([logp, old_logp])
  return rho * (logp - jax.lax.stop_gradient(old_logp))
