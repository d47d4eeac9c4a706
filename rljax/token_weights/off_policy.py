"""Sequences that the policy has moved away from."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def off_policy_mask(
  advantages: jax.Array,
  behavior_logp: jax.Array,
  logp: jax.Array,
  mask: jax.Array,
  *,
  delta: float = 0.5,
) -> jax.Array:
  """0 where an advantage is negative and the sequence too unlikely by now, else 1; a constant.

  Too unlikely: the mean over its tokens of `behavior_logp - logp` is above `delta`. Good answers
  are always learnt from, bad ones only while the policy would still give them.

  Args:
    advantages: `[..., 1]` or `[..., T]`.
    behavior_logp: `[..., T]`, under the distribution that was drawn from.
    logp: `[..., T]`, under the policy being trained.
    mask: `[..., T]`, 1 on trained tokens; the others are not read.
    delta: nats a token.
  Returns:
    The shape of `advantages`; 1 for an empty sequence and at `delta` itself.

  Source: arXiv 2512.02556, section 3.1, which publishes no `delta`; the default is TRL's example,
  as is keeping at the bound.

  >>> off_policy_mask(
  ...   jnp.array([[1.0], [-1.0], [-1.0]]), jnp.full((3, 2), -1.0),
  ...   jnp.array([[-9.0, -9.0], [-9.0, -9.0], [-1.4, -1.4]]), jnp.ones((3, 2)))[:, 0]
  Array([1., 0., 1.], dtype=float32)
  """
  chex.assert_equal_shape([behavior_logp, logp, mask])
  real = mask > 0
  behavior_logp, logp = (jnp.where(real, stats.as_float(x), 0) for x in (behavior_logp, logp))
  drift = stats.mean(behavior_logp - logp, real, axis=-1, keepdims=True)
  keep = (advantages >= 0) | (drift <= delta)
  return jax.lax.stop_gradient(keep.astype(logp.dtype))
