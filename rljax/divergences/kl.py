"""Estimators of KL(policy, reference) per token, in nats, from samples.

`logp` and `ref_logp` have one shape, `[..., T]`; the result has it too, at least float32. Both
arguments are differentiated as given. What an estimator is as a loss, on average over tokens drawn
from the policy itself (from the old policy for `k3_is`):

| | mean value | mean gradient |
|---|---|---|
| `k1` | KL(policy, reference) | 0 |
| `k2` | right to second order only | that of KL(policy, reference) |
| `k3` | KL(policy, reference) | that of KL(reference, policy) |
| `k1_plus`, `k3_plus` | KL(policy, reference) | that of KL(policy, reference) |
| `k3_is` | KL(policy, reference) | that of KL(policy, reference) |

All are 0 where the two log-probabilities are equal. Inside a reward, `k1` is the right one.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import ratios, stats


def k1(logp: jax.Array, ref_logp: jax.Array) -> jax.Array:
  """The log-ratio `logp - ref_logp`; of either sign."""
  chex.assert_equal_shape([logp, ref_logp])
  return stats.as_float(logp) - stats.as_float(ref_logp)


def absolute(logp: jax.Array, ref_logp: jax.Array) -> jax.Array:
  """The absolute log-ratio; an upper bound of KL on average, not an estimate of it."""
  return jnp.abs(k1(logp, ref_logp))


def k2(logp: jax.Array, ref_logp: jax.Array) -> jax.Array:
  """Half the squared log-ratio."""
  return k1(logp, ref_logp) ** 2 / 2


def k3(logp: jax.Array, ref_logp: jax.Array) -> jax.Array:
  """`exp(-d) - 1 + d` of the log-ratio d: never negative, and unbiased.

  A d below -20 counts as -20 and has no gradient. (A clamp of the exponent alone would leave the
  gradient of `+ d`, which pushes the policy further away.)

  Source: verl's kl_penalty, which clamps d to +-20 and the result to +-10 as well.

  >>> k3(jnp.log(jnp.array([[0.5, 0.25]])), jnp.log(jnp.array([[0.5, 0.5]])))
  Array([[0.        , 0.30685282]], dtype=float32)
  """
  d = k1(logp, ref_logp)
  d = jnp.where(d < -20, -20, d)
  return jnp.expm1(-d) + d


def k1_plus(logp: jax.Array, ref_logp: jax.Array) -> jax.Array:
  """The value of `k1` with the gradient of `k2`."""
  return _with_gradient_of_k2(k1, logp, ref_logp)


def k3_plus(logp: jax.Array, ref_logp: jax.Array) -> jax.Array:
  """The value of `k3` with the gradient of `k2`."""
  return _with_gradient_of_k2(k3, logp, ref_logp)


def k3_is(logp: jax.Array, ref_logp: jax.Array, old_logp: jax.Array | None = None) -> jax.Array:
  """`k3` times the ratio to the policy that was sampled from, with the gradient of both factors.

  Only `logp` is differentiated; beyond the ratio's clamp there is no gradient.

  Args:
    logp: `[..., T]`.
    ref_logp: `[..., T]`.
    old_logp: `[..., T]`, or None on the first and only update on a batch.

  Source: arXiv 2512.02556.
  """
  log_ratio, d = ratios.log_ratio(logp, old_logp), k1(logp, ref_logp)
  ratio = jnp.exp(log_ratio)
  # The gradients of the factors, ratio k3 and ratio (1 - exp(-d)), add up to ratio d. Added in
  # float32 they have no right digit where the reference is much more likely.
  value, slope = jax.lax.stop_gradient((ratio * k3(logp, ref_logp), ratio * d))
  return value + slope * (log_ratio - jax.lax.stop_gradient(log_ratio))


def _with_gradient_of_k2(estimator, logp, ref_logp):
  squared = k2(logp, ref_logp)
  value = jax.lax.stop_gradient(estimator(logp, ref_logp))
  return value + (squared - jax.lax.stop_gradient(squared))
