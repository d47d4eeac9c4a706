"""Importance weights for tokens that another policy, or a sampler of other precision, has drawn.

First a level (`token_importance`, `sequence_importance`, `geometric_importance`), then a bound
(`truncated`, `masked`), then, if wanted, a normalisation over the batch. All weights are constants
`[..., T]` and 0 on padding; where the two policies agree they are 1. Logarithms are clamped to
+-20.

Truncated importance sampling is `truncated(token_importance(...))`, IcePop
`masked(token_importance(...))`, masked importance sampling `masked(sequence_importance(...))`.

Source: verl's rollout_corr_helper.py and TRL's GRPO trainer. ms-swift calls the geometric mean
"sequence"; here, as in verl and TRL, a sequence's weight is the product.

>>> old_logp, mask = jnp.log(jnp.array([[0.5, 0.5, 0.5]])), jnp.array([[1.0, 1.0, 0.0]])
>>> weights = token_importance(old_logp, jnp.log(jnp.array([[0.1, 0.4, 0.9]])), mask)
>>> truncated(weights, high=2.0)
Array([[2.  , 1.25, 0.  ]], dtype=float32)
>>> masked(weights, high=2.0)
Array([[0.  , 1.25, 0.  ]], dtype=float32)
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import ratios, stats


def token_importance(old_logp: jax.Array, behavior_logp: jax.Array, mask: jax.Array) -> jax.Array:
  """`old / behavior` of each token.

  Args:
    old_logp: `[..., T]`, under the policy that the update starts from.
    behavior_logp: `[..., T]`, under the distribution that was drawn from.
    mask: `[..., T]`, 1 on trained tokens; the others are not read.
  """
  old_logp, behavior_logp, real = _real(old_logp, behavior_logp, mask)
  return _constant(ratios.token(old_logp, behavior_logp), real)


def sequence_importance(
  old_logp: jax.Array, behavior_logp: jax.Array, mask: jax.Array
) -> jax.Array:
  """The product over a sequence's tokens, the same on each of them; args as in
  `token_importance`.
  """
  old_logp, behavior_logp, real = _real(old_logp, behavior_logp, mask)
  total = jnp.sum(old_logp - behavior_logp, axis=-1, keepdims=True)
  product = ratios.token(total, jnp.zeros_like(total))
  return _constant(jnp.broadcast_to(product, real.shape), real)


def geometric_importance(
  old_logp: jax.Array, behavior_logp: jax.Array, mask: jax.Array
) -> jax.Array:
  """The geometric mean over a sequence's tokens, the same on each of them; args as in
  `token_importance`.
  """
  old_logp, behavior_logp, real = _real(old_logp, behavior_logp, mask)
  mean = ratios.sequence(old_logp, behavior_logp, mask)
  return _constant(jnp.broadcast_to(mean, real.shape), real)


def truncated(weights: jax.Array, *, low: float = 0.0, high: float = 2.0) -> jax.Array:
  """Weights clipped to `[low, high]`; padding, whose weight is 0, stays there.

  Source: the default of `high` is verl's; verl has no lower bound.
  """
  _check(low, high)
  return jnp.where(weights > 0, jnp.clip(weights, low, high), 0)


def masked(weights: jax.Array, *, low: float = 0.0, high: float = 3.0) -> jax.Array:
  """Weights that lie in `[low, high]`, bounds included, and 0 for those outside.

  Source: the default of `high` is TRL's, for sequences. SkyRL multiplies by 1 where this leaves
  the weight.
  """
  _check(low, high)
  return jnp.where((weights >= low) & (weights <= high), weights, 0)


def normalized_over_tokens(weights: jax.Array, mask: jax.Array) -> jax.Array:
  """Weights over their mean on the batch's trained tokens; as they are if that is below 1e-8."""
  return _over(weights, stats.mean(weights, mask))


def normalized_over_sequences(weights: jax.Array, mask: jax.Array) -> jax.Array:
  """Weights over the mean weight of a sequence; a sequence without a trained token is not counted.

  As they are if that mean is below 1e-8.
  """
  of_sequence = stats.mean(weights, mask, axis=-1)
  return _over(weights, stats.mean(of_sequence, jnp.any(mask > 0, axis=-1)))


def _real(old_logp, behavior_logp, mask):
  """Zeros where nobody trains, so that nothing there reaches a sum, and where somebody does."""
  chex.assert_equal_shape([old_logp, behavior_logp, mask])
  real = mask > 0
  return *(jnp.where(real, stats.as_float(x), 0) for x in (old_logp, behavior_logp)), real


def _constant(weights, real):
  return jax.lax.stop_gradient(jnp.where(real, weights, 0))


def _over(weights, mean):
  return jnp.where(mean > 1e-8, weights / jnp.where(mean > 1e-8, mean, 1), weights)


def _check(low, high):
  if not 0 <= low < high:
    raise ValueError(f'Importance weights are bounded to 0 <= low < high, not [{low}, {high}].')
