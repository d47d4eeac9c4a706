"""Grouped-query attention over keys that are marked by their positions.

Sizes: B rows, L queries a row, S keys a row, H heads, KV key-value heads, dh width of a head. A
position of -1 marks padding, and a query at position q sees every key at a position in [0, q]: left
padding, right padding and unused cache slots need no masks of their own.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def visible(query_positions: jax.Array, key_positions: jax.Array, window: int = 0) -> jax.Array:
  """bool `[B, L, S]`: which keys each query may look at, from positions `[B, L]` and `[B, S]`.

  With a window, only so many of the latest positions, the query's own included; 0: all.
  """
  keys, queries = key_positions[:, None, :], query_positions[:, :, None]
  seen = (keys >= 0) & (keys <= queries)
  return seen & (queries - keys < window) if window else seen


def softcap(logits: jax.Array, cap: float | None) -> jax.Array:
  """Logits bounded by `cap * tanh(logits / cap)` (Gemma 2, arXiv 2408.00118); None: as they are."""
  return logits if cap is None else cap * jnp.tanh(logits / cap)


def attend(
  query: jax.Array,
  key: jax.Array,
  value: jax.Array,
  visible: jax.Array,
  *,
  scale: float,
  cap: float | None = None,
) -> jax.Array:
  """Softmax attention, `[B, L, H, dh]`; the softmax is in float32.

  Args:
    query: `[B, L, H, dh]`.
    key: `[B, KV, dh, S]`, the layout that a decoding step reads contiguously.
    value: `[B, KV, S, dh]`.
    visible: bool `[B, L, S]`.
    scale: of the products.
    cap: see `softcap`; None leaves the scaled products as they are.
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
  logits = jnp.where(visible[:, None, None], softcap(logits * scale, cap), -1e30)
  probs = jax.nn.softmax(logits, axis=-1).astype(value.dtype)
  mixed = jnp.einsum('bgqs,bgsk->bgqk', probs.reshape(rows, groups, -1, probs.shape[-1]), value)
  mixed = mixed.reshape(rows, groups, heads // groups, length, width).transpose(0, 3, 1, 2, 4)
  return mixed.reshape(rows, length, heads, width)
