"""The key-value cache of the decoder.

Keys and values are per-layer arrays in a tuple, keys with the slots last: a scan over one stacked
cache copies it at every step, and this layout makes both products of a decoding step contiguous.
"""

from __future__ import annotations

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp


@flax.struct.dataclass
class Prefix:
  """Keys and values of P prompts, each shared by the rows that continue it.

  Attributes:
    keys: per layer `[P, KV, Tp, head_dim]`, rotated.
    values: per layer `[P, KV, Tp, head_dim]`.
    positions: int32 `[P, Tp]`, -1 for padding.
  """

  keys: tuple[jax.Array, ...]
  values: tuple[jax.Array, ...]
  positions: jax.Array


@flax.struct.dataclass
class Cache:
  """Keys and values of the tokens seen so far.

  Attributes:
    keys: per layer `[B, KV, S, head_dim]`, rotated.
    values: per layer `[B, KV, S, head_dim]`.
    positions: int32 `[B, S]`, -1 where empty or padding.
    index: int32 `[]`, the next slot to write.
    prefix: what came before, of `P` prompts; row b continues prompt `b // (B / P)`. None: nothing.
  """

  keys: tuple[jax.Array, ...]
  values: tuple[jax.Array, ...]
  positions: jax.Array
  index: jax.Array
  prefix: Prefix | None = None


def empty(
  rows: int, slots: int, *, layers: int, kv_heads: int, head_dim: int, dtype: jnp.dtype
) -> Cache:
  """A cache that holds nothing."""
  return Cache(
    keys=tuple(jnp.zeros((rows, kv_heads, slots, head_dim), dtype) for _ in range(layers)),
    values=tuple(jnp.zeros((rows, kv_heads, slots, head_dim), dtype) for _ in range(layers)),
    positions=jnp.full((rows, slots), -1, jnp.int32),
    index=jnp.zeros((), jnp.int32),
  )


def fork(cache: Cache, copies: int, slots: int) -> Cache:
  """An empty cache of `slots` for `copies` continuations of every row, which becomes the prefix."""

  def empty_like(x, axis):
    shape = (x.shape[0] * copies, *x.shape[1:axis], slots, *x.shape[axis + 1 :])
    return jnp.zeros_like(x, shape=shape)

  return Cache(
    keys=tuple(empty_like(x, 2) for x in cache.keys),
    values=tuple(empty_like(x, 2) for x in cache.values),
    positions=empty_like(cache.positions, 1) - 1,
    index=jnp.zeros_like(cache.index),
    prefix=Prefix(cache.keys, cache.values, cache.positions),
  )


def grow(cache: Cache, slots: int) -> Cache:
  """The cache with room for `slots` in all."""

  def pad(x, axis, value=0):
    widths = [(0, 0)] * x.ndim
    widths[axis] = (0, slots - x.shape[axis])
    return jnp.pad(x, widths, constant_values=value)

  return dataclasses.replace(
    cache,
    keys=tuple(pad(x, 2) for x in cache.keys),
    values=tuple(pad(x, 2) for x in cache.values),
    positions=pad(cache.positions, 1, -1),
  )


def write(
  cache: Cache, layer: int, key: jax.Array, value: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """A layer's keys and values with new ones `[B, L, KV, head_dim]` at the next slots."""
  at = cache.index
  return (
    jax.lax.dynamic_update_slice(cache.keys[layer], key.transpose(0, 2, 1, 3), (0, 0, at, 0)),
    jax.lax.dynamic_update_slice(cache.values[layer], value.transpose(0, 2, 1, 3), (0, 0, at, 0)),
  )
