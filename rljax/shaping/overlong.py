"""A punishment that grows over the last tokens before the limit."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def soft_overlong(rewards: jax.Array, lengths: jax.Array, *, limit: int, buffer: int) -> jax.Array:
  """Rewards less 0 up to `limit - buffer` tokens, growing evenly to 1 at `limit` and 1 beyond.

  Args:
    rewards: any shape.
    lengths: the same shape, in tokens.
    limit: longest completion, in tokens.
    buffer: tokens over which the punishment grows; 0 is a step from 0 at `limit` to 1 after it.
  Raises:
    ValueError: `buffer` is not within `[0, limit]`.

  Source: arXiv 2503.14476, equation 13. verl has no floor at -1; TRL has.

  >>> soft_overlong(jnp.ones(4), jnp.array([6, 8, 10, 99]), limit=10, buffer=4)
  Array([1. , 0.5, 0. , 0. ], dtype=float32)
  """
  chex.assert_equal_shape([rewards, lengths])
  if not 0 <= buffer <= limit:
    raise ValueError(f'buffer must be within [0, limit] = [0, {limit}] tokens, not {buffer}.')
  over = stats.as_float(lengths) - (limit - buffer)
  # Lengths are whole: with buffer 0 the first token too many already costs 1.
  return stats.as_float(rewards) - jnp.clip(over / max(buffer, 1), 0, 1)
