"""How much of a solution to give away."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import stats


def hint_ratio(
  rewards: jax.Array,
  where: jax.Array | None = None,
  noise: float | jax.Array = 0.0,
  *,
  low: float,
  high: float,
) -> jax.Array:
  """Share of a reference solution to give as a hint, `[...]`: the harder the prompt, the more.

  Args:
    rewards: `[..., n]` in [0, 1], of completions without a hint.
    where: `[..., n]`, 1 on real ones; none at all counts as hardest.
    noise: `[...]`, added.
    low: share for a prompt that is always solved.
    high: share for one that never is.
  Returns:
    `[...]`, held to [0, 1].

  Source: ADHint, arXiv 2512.13095, which gives no numbers that were seen; the last clip is ours.

  >>> hint_ratio(jnp.array([[1.0, 0.0, 0.0, 0.0]]), low=0.0, high=0.8)
  Array([0.6], dtype=float32)
  """
  difficulty = 1 - stats.mean(rewards, where, axis=-1)
  return jnp.clip((high - low) * difficulty + low + noise, 0, 1)


def hint_lengths(ratio: jax.Array, lengths: jax.Array) -> jax.Array:
  """Tokens of the hint, int32, any shape: the leading `ratio` of `lengths` tokens, rounded down."""
  return jnp.floor(ratio * lengths).astype(jnp.int32)
