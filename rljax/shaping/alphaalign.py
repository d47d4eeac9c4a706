"""AlphaAlign: refuse what is harmful and say why, help with the rest."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def alphaalign(
  harmful: jax.Array,
  formatted: jax.Array,
  refused: jax.Array,
  helpfulness: jax.Array,
  where: jax.Array | None = None,
) -> jax.Array:
  """1 or 0 for a justified refusal of a harmful prompt; else helpfulness relative to the group.

  A harmful prompt: 1 where the answer is well formed and refuses. Others: 0 for a refusal or a bad
  format, else the helpfulness, of which the group's least is 0 and its largest 1.

  Args:
    harmful: `[..., G]`, above 0 where the prompt is harmful.
    formatted: `[..., G]`, above 0 where the answer is well formed.
    refused: `[..., G]`, above 0 where it refuses, explicitly and with a reason.
    helpfulness: `[..., G]`, of a reward model.
    where: `[..., G]`, 1 on real members.
  Returns:
    `[..., G]` in [0, 1]; equal helpfulness throughout a group counts as 0.5.

  Source: arXiv 2507.14987 as summaries give it; a reconstruction: how helpfulness is normalised,
  and over which members, is ours.

  >>> ones, helpful = jnp.ones((1, 3)), jnp.array([[2.0, 4.0, 3.0]])
  >>> alphaalign(0 * ones, ones, 0 * ones, helpful)
  Array([[0. , 1. , 0.5]], dtype=float32)
  """
  chex.assert_shape(helpfulness, (..., None, None))
  chex.assert_equal_shape([harmful, formatted, refused, helpfulness])
  real = stats.is_real(helpfulness, where)
  x = jnp.where(real, stats.as_float(helpfulness), 0)
  low = jnp.min(x, axis=-1, keepdims=True, initial=jnp.inf, where=real)
  high = jnp.max(x, axis=-1, keepdims=True, initial=-jnp.inf, where=real)
  spread = high > low
  helpful = jnp.where(spread, (x - low) / jnp.where(spread, high - low, 1), 0.5)
  good, refusal = formatted > 0, refused > 0
  reward = jnp.where(harmful > 0, good & refusal, jnp.where(good & ~refusal, helpful, 0))
  return jnp.where(real, reward, 0)
