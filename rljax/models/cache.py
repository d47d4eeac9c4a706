"""The key-value cache of the decoder.

Keys and values are a tuple of one array for each layer, which an unrolled decoding step reads where
they lie, or one array with the layers on its first axis, which a loop over many layers updates in
place and reads a layer at a time.
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
    keys: per layer `[P, KV, Tp, head_dim]`, rotated; a tuple, or stacked.
    values: the same of values.
    positions: int32 `[P, Tp]`, -1 for padding.
  """

  keys: tuple[jax.Array, ...] | jax.Array
  values: tuple[jax.Array, ...] | jax.Array
  positions: jax.Array


@flax.struct.dataclass
class Cache:
  """Keys and values of the tokens seen so far.

  Attributes:
    keys: per layer `[B, KV, S, head_dim]`, rotated; a tuple, or stacked.
    values: the same of values.
    positions: int32 `[B, S]`, -1 where empty or padding.
    index: int32 `[]`, the next slot to write.
    prefix: what came before, of `P` prompts; row b continues prompt `b // (B / P)`. None: nothing.
  """

  keys: tuple[jax.Array, ...] | jax.Array
  values: tuple[jax.Array, ...] | jax.Array
  positions: jax.Array
  index: jax.Array
  prefix: Prefix | None = None


def empty(
  rows: int,
  slots: int,
  *,
  layers: int,
  kv_heads: int,
  head_dim: int,
  dtype: jnp.dtype,
  stacked: bool,
) -> Cache:
  """A cache that holds nothing."""

  def zeros():
    shape = (rows, kv_heads, slots, head_dim)
    if stacked:
      return jnp.zeros((layers, *shape), dtype)
    return tuple(jnp.zeros(shape, dtype) for _ in range(layers))

  return Cache(
    keys=zeros(),
    values=zeros(),
    positions=jnp.full((rows, slots), -1, jnp.int32),
    index=jnp.zeros((), jnp.int32),
  )


def fork(cache: Cache, copies: int, slots: int) -> Cache:
  """An empty cache of `slots` for `copies` continuations of every row, which becomes the prefix."""

  def empty_like(x):
    *layers, rows, heads, _, width = x.shape
    return jnp.zeros_like(x, shape=(*layers, rows * copies, heads, slots, width))

  return Cache(
    keys=jax.tree.map(empty_like, cache.keys),
    values=jax.tree.map(empty_like, cache.values),
    positions=jnp.full_like(cache.positions, -1, shape=(len(cache.positions) * copies, slots)),
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
    keys=jax.tree.map(lambda x: pad(x, -2), cache.keys),
    values=jax.tree.map(lambda x: pad(x, -2), cache.values),
    positions=pad(cache.positions, 1, -1),
  )


def write(stored: jax.Array, new: jax.Array, at: jax.Array) -> jax.Array:
  """A layer's keys or values `[B, KV, S, head_dim]` with new ones `[B, L, KV, head_dim]` at the
  slots from `at`."""
  return jax.lax.dynamic_update_slice(stored, new.transpose(0, 2, 1, 3), (0, 0, at, 0))


def write_layer(
  stored: jax.Array, layer: jax.Array, new: jax.Array, at: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """As `write`, for one layer of a stacked array: all layers, and this one."""
  new = new.transpose(0, 2, 1, 3)[None]
  stored = jax.lax.dynamic_update_slice(stored, new, (layer, 0, 0, at, 0))
  return stored, jax.lax.dynamic_index_in_dim(stored, layer, keepdims=False)
