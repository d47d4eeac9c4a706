"""Weights of the tokens of a hint: the beginning of somebody else's solution in a completion.

`hint [..., T]` is 1 on its tokens; all others have weight 1.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import stats


def hint_consistency(entropy: jax.Array, hint: jax.Array, mask: jax.Array) -> jax.Array:
  """Less for hint tokens whose entropy is unlike that of the policy's own continuation, `[..., T]`.

  `exp(-|H - own| / own)`, `own` being the mean entropy of the tokens that are no hint.

  Args:
    entropy: `[..., T]`, of the policy at each token, in nats.
    hint: `[..., T]`.
    mask: `[..., T]`.
  Returns:
    `[..., T]`, a constant. Where `own` is 0, as without a continuation, hint tokens with entropy
    get 0 and those without 1.

  Source: arXiv 2512.13095; a reconstruction: that the weight falls with the difference is known,
  the exponential is ours.
  """
  real = mask > 0
  entropy = jnp.where(real, stats.as_float(jax.lax.stop_gradient(entropy)), 0)
  own = stats.mean(entropy, real & ~(hint > 0), axis=-1, keepdims=True)
  distance = jnp.abs(entropy - own)
  decay = jnp.exp(-distance / jnp.where(own > 0, own, 1))
  decay = jnp.where(own > 0, decay, distance == 0)
  return jnp.where(real & (hint > 0), decay, 1)


def hint_preservation(advantages: jax.Array, hint: jax.Array) -> jax.Array:
  """0 on the hint tokens of completions with a negative advantage, `[..., T]`.

  The hint was right; what failed is the continuation.

  Args:
    advantages: `[...]`.
    hint: `[..., T]`.

  Source: arXiv 2512.13095.
  """
  return 1.0 - ((hint > 0) & (advantages < 0)[..., None]).astype(stats.as_float(advantages).dtype)
