"""Grouped-query attention over keys that are marked by their positions.

Sizes: B rows, L queries a row, S keys a row, H heads, KV key-value heads, dh width of a head. A
position of -1 marks padding, and a query at position q sees every key at a position in [0, q]: left
padding, right padding and unused cache slots need no masks of their own.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def visible(query_positions: jax.Array, key_positions: jax.Array) -> jax.Array:
  """bool `[B, L, S]`: which keys each query may look at, from positions `[B, L]` and `[B, S]`."""
  keys = key_positions[:, None, :]
  return (keys >= 0) & (keys <= query_positions[:, :, None])


def attend(
  query: jax.Array, key: jax.Array, value: jax.Array, visible: jax.Array, *, scale: float
) -> jax.Array:
  """Softmax attention, `[B, L, H, dh]`; the softmax is in float32.

  Args:
    query: `[B, L, H, dh]`.
    key: `[B, KV, dh, S]`, the layout that a decoding step reads contiguously.
    value: `[B, KV, S, dh]`.
    visible: bool `[B, L, S]`.
    scale: of the products.
  """
  rows, length, heads, width = query.shape
  groups = key.shape[1]
  # One free axis a side, [B, KV, heads a group * L, dh]: with two, XLA's CPU backend leaves its
  # fast matrix product and a decoding step takes ten times as long.
  query = query.reshape(rows, length, groups, heads // groups, width).transpose(0, 2, 3, 1, 4)
  logits = jnp.einsum(
    'bgqk,bgks->bgqs',
    query.reshape(rows, groups, -1, width),
    key,
    preferred_element_type=jnp.float32,
  ).reshape(rows, groups, heads // groups, length, -1)
  logits = jnp.where(visible[:, None, None], logits * scale, -1e30)
  probs = jax.nn.softmax(logits, axis=-1).astype(value.dtype)
  mixed = jnp.einsum('bgqs,bgsk->bgqk', probs.reshape(rows, groups, -1, probs.shape[-1]), value)
  mixed = mixed.reshape(rows, groups, heads // groups, length, width).transpose(0, 3, 1, 2, 4)
  return mixed.reshape(rows, length, heads, width)
