"""Penalties of token sequences that come back, exact for any length of sequence.

Which sequences of tokens are equal is found by ranking them: two of them are if the ranks of their
halves are, so each sort doubles the length. This takes `O(T log T log size)` operations and `O(T)`
memory for a completion, and nothing is hashed.
"""

from __future__ import annotations

import functools

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def repetition_per_token(
  tokens: jax.Array, mask: jax.Array, *, size: int = 40, penalty: float = -0.05
) -> jax.Array:
  """`penalty` on every token that is part of a sequence of `size` tokens seen before.

  The sequence may overlap the one that it repeats. Put it into the returns with a discount of its
  own: `advantages.reward_to_go(penalties, mask, gamma=0.99)`.

  Args:
    tokens: int `[..., T]`.
    mask: `[..., T]`, 1 on the completion's tokens; a sequence has none that are masked.
    size: tokens in a sequence.
    penalty: of each token, once however many sequences cover it.
  Returns:
    `[..., T]`; 0 for fewer than `size` tokens.
  Raises:
    ValueError: `size` is below 1.

  Source: arXiv 2502.03373; follows the authors' openrlhf/reward/repetition.py.

  >>> tokens = jnp.array([[5, 6, 5, 6, 7]])
  >>> repetition_per_token(tokens, jnp.ones_like(tokens), size=2)
  Array([[ 0.  ,  0.  , -0.05, -0.05,  0.  ]], dtype=float32)
  """
  repeated, _ = _sequences(tokens, mask, size)
  # How many repeated sequences begin at most size - 1 tokens before each token.
  begun = jnp.cumsum(repeated, axis=-1)
  earlier = jnp.pad(begun, [(0, 0)] * (begun.ndim - 1) + [(size, 0)])[..., : begun.shape[-1]]
  nothing = jnp.zeros_like(stats.as_float(mask))
  return jnp.where(begun > earlier, penalty, nothing)


def repetition(
  tokens: jax.Array, mask: jax.Array, *, size: int = 3, penalty: float = -1.0
) -> jax.Array:
  """`penalty` times the share of a completion's sequences of `size` tokens that came before.

  Args:
    tokens: int `[..., T]`.
    mask: `[..., T]`, 1 on the completion's tokens; a sequence has none that are masked.
    size: tokens in a sequence.
    penalty: what is approached as everything repeats.
  Returns:
    `[...]`; 0 for fewer than `size` tokens.
  Raises:
    ValueError: `size` is below 1.

  Source: TRL's get_repetition_penalty_reward, on tokens. The authors of arXiv 2502.03373 count
  words of lower case and charge wrong answers alone; without a sequence they divide by 0.

  >>> tokens = jnp.array([[5, 6, 5, 6, 5]])
  >>> repetition(tokens, jnp.ones_like(tokens), size=2)
  Array([-0.5], dtype=float32)
  """
  repeated, real = _sequences(tokens, mask, size)
  return penalty * stats.mean(repeated.astype(stats.as_float(mask).dtype), real, axis=-1)


def _sequences(tokens, mask, size):
  """Where a sequence begins that began before, and where any does; booleans `[..., T]`."""
  if size < 1:
    raise ValueError(f'size is a number of tokens and must be 1 at least, not {size}.')
  chex.assert_equal_shape([tokens, mask])
  length = tokens.shape[-1]
  if size > length:
    nowhere = jnp.zeros_like(tokens, dtype=bool)
    return nowhere, nowhere
  place = jax.lax.broadcasted_iota(jnp.int32, tokens.shape, tokens.ndim - 1)
  masked = jnp.cumsum(mask <= 0, axis=-1)
  before = masked - (mask <= 0)
  real = (place + size <= length) & (_ahead(masked, size - 1) == before)

  rank, span = _rank(place, tokens)[0], 1
  while 2 * span < size:
    rank, span = _rank(place, rank, _ahead(rank, span))[0], 2 * span
  # The last two overlap.
  keys = ((~real).astype(jnp.int32), rank, _ahead(rank, size - span))
  _, first = _rank(place, *keys)
  return real & (first < place), real


def _ahead(x, distance):
  """What stands `distance` places later; at the end the last again, which nobody reads."""
  index = jnp.minimum(jnp.arange(x.shape[-1]) + distance, x.shape[-1] - 1)
  return jnp.take(x, index, axis=-1)


def _rank(place, *keys):
  """Ids of the classes of equal keys, and the first place of each class, at every place."""
  *keys, order = jax.lax.sort((*keys, place), dimension=-1, num_keys=len(keys), is_stable=True)
  differs = [
    jnp.concatenate([k[..., :1] == k[..., :1], k[..., 1:] != k[..., :-1]], axis=-1) for k in keys
  ]
  begins = functools.reduce(jnp.logical_or, differs)
  ids = jnp.cumsum(begins, axis=-1, dtype=order.dtype)
  # Sorted stably, a class begins with its first place.
  first = jax.lax.cummax(jnp.where(begins, place, 0), axis=place.ndim - 1)
  first = jnp.take_along_axis(order, first, axis=-1)
  _, ids, first = jax.lax.sort((order, ids, first), dimension=-1, num_keys=1)
  return ids, first
