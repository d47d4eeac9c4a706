"""Grouped-query attention over keys that are marked by their positions.

Sizes: B rows, L queries a row, S keys a row, H heads, KV key-value heads, dh width of a head. A
position of -1 marks padding, and a query at position q sees every key at a position in [0, q]: left
padding, right padding and unused cache slots need no masks of their own.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Keys(NamedTuple):
  """Keys and values of R rows, each looked at by the queries of B / R rows in order.

  Attributes:
    key: `[R, KV, S, dh]`.
    value: `[R, KV, S, dh]`.
    visible: bool `[R, (B / R) * L, S]`.
  """

  key: jax.Array
  value: jax.Array
  visible: jax.Array


def visible(query_positions: jax.Array, key_positions: jax.Array, window: int = 0) -> jax.Array:
  """bool `[R, L, S]`: which keys each query may look at.

  Args:
    query_positions: int `[R, L]`, or `[B, L]` where B / R rows share the keys: `[R, (B / R) * L,
      S]`.
    key_positions: int `[R, S]`.
    window: how many of the latest positions are seen, the query's own included; 0: all.
  """
  queries = query_positions.reshape(key_positions.shape[0], -1)[:, :, None]
  keys = key_positions[:, None, :]
  seen = (keys >= 0) & (keys <= queries)
  return seen & (queries - keys < window) if window else seen


def softcap(logits: jax.Array, cap: float | None) -> jax.Array:
  """Logits bounded by `cap * tanh(logits / cap)` (Gemma 2, arXiv 2408.00118); None: as they are."""
  return logits if cap is None else cap * jnp.tanh(logits / cap)


def attend(query: jax.Array, *sets: Keys, scale: float, cap: float | None = None) -> jax.Array:
  """Softmax attention of `query [B, L, H, dh]` over all sets of keys together, `[B, L, H, dh]`.

  Each set is passed over on its own, and the sums are put together as in the online softmax (arXiv
  1805.02867), so keys that several rows share are neither copied nor read twice. The softmax is in
  float32. `cap` bounds the scaled products, see `softcap`.
  """
  parts = [_partial(query, keys, scale, cap) for keys in sets]
  if len(parts) == 1:
    ((mixed, _, total),) = parts
  else:
    top = jnp.max(jnp.stack([largest for _, largest, _ in parts]), axis=0)
    shares = [jnp.exp(largest - top) for _, largest, _ in parts]
    mixed = sum(m * share for (m, _, _), share in zip(parts, shares, strict=True))
    total = sum(t * share for (_, _, t), share in zip(parts, shares, strict=True))
  return (mixed / total).astype(query.dtype)


def _partial(query, keys, scale, cap):
  """Sum of `exp(logit - largest) * value` `[B, L, H, dh]`, largest logit and sum `[B, L, H, 1]`."""
  rows, length, heads, width = query.shape
  shared, groups = keys.key.shape[:2]
  shape = (shared, rows // shared, length, groups, heads // groups)
  # One free axis a side, [R, KV, heads a group * rows * L, dh]: with two, XLA's CPU backend leaves
  # its fast matrix product and a decoding step takes ten times as long.
  query = query.reshape(*shape, width).transpose(0, 3, 4, 1, 2, 5)
  logits = jnp.einsum(
    'bgqk,bgsk->bgqs',
    query.reshape(shared, groups, -1, width),
    keys.key,
    preferred_element_type=jnp.float32,
  ).reshape(shared, groups, shape[4], -1, keys.key.shape[2])
  logits = jnp.where(keys.visible[:, None, None], softcap(logits * scale, cap), -1e30)
  largest = jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
  weights = jnp.exp(logits - largest)
  total = jnp.sum(weights, axis=-1, keepdims=True)
  weights = weights.reshape(shared, groups, -1, weights.shape[-1]).astype(keys.value.dtype)
  mixed = jnp.einsum('bgqs,bgsk->bgqk', weights, keys.value, preferred_element_type=jnp.float32)

  def by_row(x):
    x = x.reshape(shared, groups, shape[4], shape[1], length, -1).transpose(0, 3, 4, 1, 2, 5)
    return x.reshape(rows, length, heads, -1)

  return by_row(mixed), by_row(largest), by_row(total)
