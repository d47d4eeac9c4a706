"""The chi-squared divergence, estimated from whole sequences."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from rljax import stats

_LINEAR = 10.0  # beyond this log-ratio the exponential goes on as its tangent


def chi2(log_ratio: jax.Array) -> jax.Array:
  """What a sample adds to chi2(policy, reference): `f(z) + f(-z)`, `f(z) = exp(z) - 1`, `[...]`.

  Its mean over samples of the policy is the divergence: `exp(-z) - 1` has mean 0 and makes every
  sample's part non-negative. From 10 on f is continued along its tangent. As a loss its mean
  gradient is half that of chi2(policy, reference) plus that of KL(reference, policy).

  Args:
    log_ratio: `[...]`, log(policy / reference) of a sequence: the sum over its tokens. It leaves
      +-10 soon, so sequences should be short.

  Source: arXiv 2403.03185; follows modeling.py of the authors' llm_optimization.

  >>> jnp.round(chi2(jnp.log(jnp.array([1.0, 2.0]))), 5)
  Array([0. , 0.5], dtype=float32)
  """
  z = jnp.abs(stats.as_float(log_ratio))
  near = jnp.minimum(z, _LINEAR)
  beyond = math.exp(_LINEAR) * (1 + z - _LINEAR) - 1 + jnp.expm1(-z)
  # 4 sinh(z/2)^2 equals the sum and does not cancel where z is small.
  return jnp.where(z < _LINEAR, 4 * jnp.sinh(near / 2) ** 2, beyond)
