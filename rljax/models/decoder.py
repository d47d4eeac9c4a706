"""A decoder-only transformer as one plain function (RMSNorm, RoPE, grouped-query attention,
SwiGLU).

Sizes: B rows, L tokens given, S cache slots, D width, H heads, KV key-value heads, V vocabulary. A
position of -1 marks padding; see `attention.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp

from rljax.models import attention
from rljax.models.linear import project
from rljax.models.specs import specs

# Below this depth an unrolled program is both faster to run (6 to 12 % in training) and quick to
# compile; above it one scanned layer keeps compile time flat in depth.
_UNROLL_LAYERS = 4


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
  """Sizes of a decoder.

  Attributes:
    vocab_size: V.
    dim: width of the residual stream, D.
    num_layers: layers.
    num_heads: query heads.
    num_kv_heads: key-value heads; divides num_heads.
    head_dim: width of a head; even.
    ff_dim: hidden width of the feed-forward block.
    rope_theta: base of the rotary frequencies.
    norm_eps: added to the mean square in RMSNorm.
    tied: whether the head is the embedding.
    dtype: type of activations; logits are always float32.
  """

  vocab_size: int
  dim: int
  num_layers: int
  num_heads: int
  num_kv_heads: int
  head_dim: int
  ff_dim: int
  rope_theta: float = 10_000.0
  norm_eps: float = 1e-6
  tied: bool = True
  dtype: str = 'float32'

  def __post_init__(self):
    for name in ('vocab_size', 'dim', 'num_layers', 'num_heads', 'num_kv_heads', 'ff_dim'):
      if getattr(self, name) < 1:
        raise ValueError(f'{name} is {getattr(self, name)}; it must be at least 1.')
    if self.num_heads % self.num_kv_heads:
      raise ValueError(
        f'num_heads ({self.num_heads}) must be a multiple of num_kv_heads ({self.num_kv_heads}).'
      )
    if self.head_dim % 2 or self.head_dim < 2:
      raise ValueError(f'head_dim is {self.head_dim}; rotary embedding needs an even number.')


@flax.struct.dataclass
class Cache:
  """Keys and values of the tokens seen so far.

  Per-layer arrays in a tuple, keys with the slots last: a scan over one stacked cache copies it at
  every step, and this layout makes both products of a decoding step contiguous.

  Attributes:
    keys: per layer `[B, KV, head_dim, S]`, rotated.
    values: per layer `[B, KV, S, head_dim]`.
    positions: int32 `[B, S]`, -1 where empty or padding.
    index: int32 `[]`, the next slot to write.
  """

  keys: tuple[jax.Array, ...]
  values: tuple[jax.Array, ...]
  positions: jax.Array
  index: jax.Array


class Model(NamedTuple):
  """What the sampler, the scorer and the loops need to know of a model.

  Attributes:
    apply: `(params, tokens [B, L], positions [B, L], cache | None) -> (logits [B, L, V], cache |
      None)`.
    init_cache: `(rows, slots) -> ` an empty cache.
    specs: tree of `Spec`, the shape of `params`.
    features: like `apply`, up to the head: activations `[B, L, D]`; takes `segments [B, L]` of
      packed rows too. None for a model that offers `apply` alone.
    unembed: `(params, activations [..., D]) -> logits [..., V]`, float32; the head.
  """

  apply: Callable[..., tuple[jax.Array, Any]]
  init_cache: Callable[[int, int], Any]
  specs: Any
  features: Callable[..., tuple[jax.Array, Any]] | None = None
  unembed: Callable[[Any, jax.Array], jax.Array] | None = None


def decoder(config: DecoderConfig, hold: Callable[[jax.Array], jax.Array] = lambda x: x) -> Model:
  """The decoder of these sizes as a `Model`.

  Args:
    config: the sizes.
    hold: called on activations `[B, L, D]` before each layer and after the last, and
      changes no value; `rljax.training.sharding.hold_rows` keeps them in place on a mesh.
  """

  def features(params, tokens, positions, cache=None, segments=None):
    return _features(config, hold, params, tokens, positions, cache, segments)

  def unembed(params, x):
    head = params['embedding' if config.tied else 'head'].astype(x.dtype)
    return jnp.einsum('...d,vd->...v', x, head, preferred_element_type=jnp.float32)

  def apply(params, tokens, positions, cache=None, segments=None):
    x, cache = features(params, tokens, positions, cache, segments)
    return unembed(params, x), cache

  def init_cache(rows, slots):
    dtype = jnp.dtype(config.dtype)
    heads, width = config.num_kv_heads, config.head_dim
    return Cache(
      keys=tuple(jnp.zeros((rows, heads, width, slots), dtype) for _ in range(config.num_layers)),
      values=tuple(jnp.zeros((rows, heads, slots, width), dtype) for _ in range(config.num_layers)),
      positions=jnp.full((rows, slots), -1, jnp.int32),
      index=jnp.zeros((), jnp.int32),
    )

  return Model(apply, init_cache, specs(config), features, unembed)


def token_positions(tokens: jax.Array) -> jax.Array:
  """Positions of tokens `[..., L]`: 0, 1, 2, ... over those that are there, -1 elsewhere."""
  real = tokens >= 0
  return jnp.where(real, jnp.cumsum(real, axis=-1) - 1, -1)


def _features(config, hold, params, tokens, positions, cache, segments):
  """Activations `[B, L, D]` before the head; packed examples have different `segments [B, L]`."""
  dtype = jnp.dtype(config.dtype)
  x = params['embedding'][jnp.maximum(tokens, 0)].astype(dtype)
  rope = _rope(positions, config.head_dim, config.rope_theta)
  if cache is None:
    visible = attention.visible(positions, positions)
    if segments is not None:
      visible &= segments[:, :, None] == segments[:, None, :]

    def layer(x, weights):
      x = hold(x)
      query, key, value = _project(config, weights, x, rope)
      mixed = _attend(
        config, query, key.transpose(0, 2, 3, 1), value.transpose(0, 2, 1, 3), visible
      )
      return _rest(config, weights, x, mixed), None

    unroll = config.num_layers if config.num_layers <= _UNROLL_LAYERS else 1
    x, _ = jax.lax.scan(layer, x, params['layers'], unroll=unroll)
  else:
    if segments is not None:
      raise ValueError('Packed rows (segments) are for training; a cache holds one example a row.')
    slots = jax.lax.dynamic_update_slice(cache.positions, positions, (0, cache.index))
    visible = attention.visible(positions, slots)
    keys, values = [], []
    for i in range(config.num_layers):
      weights = jax.tree.map(lambda leaf, i=i: leaf[i], params['layers'])
      x = hold(x)
      query, key, value = _project(config, weights, x, rope)
      keys.append(
        jax.lax.dynamic_update_slice(
          cache.keys[i], key.transpose(0, 2, 3, 1), (0, 0, 0, cache.index)
        )
      )
      values.append(
        jax.lax.dynamic_update_slice(
          cache.values[i], value.transpose(0, 2, 1, 3), (0, 0, cache.index, 0)
        )
      )
      x = _rest(config, weights, x, _attend(config, query, keys[i], values[i], visible))
    cache = Cache(tuple(keys), tuple(values), slots, cache.index + tokens.shape[1])
  return hold(_rms_norm(x, params['final_norm'], config.norm_eps)), cache


def _project(config, weights, x, rope):
  """Rotated query `[B, L, H, dh]`, rotated key and value `[B, L, KV, dh]`."""
  x = _rms_norm(x, weights['attention_norm'], config.norm_eps)
  query = project('bld,dhk->blhk', x, weights['query'])
  both = project('bld,dchk->cblhk', x, weights['key_value'])
  return _rotate(query, rope), _rotate(both[0], rope), both[1]


def _attend(config, query, key, value, visible):
  return attention.attend(query, key, value, visible, scale=config.head_dim**-0.5)


def _rest(config, weights, x, mixed):
  """The layer after its attention: output projection and feed-forward block."""
  x = x + project('blhk,hkd->bld', mixed, weights['attention_out'])
  return x + _feed_forward(config, weights, x)


def _feed_forward(config, weights, x):
  x = _rms_norm(x, weights['ff_norm'], config.norm_eps)
  both = project('bld,dcf->cblf', x, weights['gate_up'])
  return project('blf,fd->bld', jax.nn.silu(both[0]) * both[1], weights['down'])


def _rms_norm(x, scale, eps):
  """RMSNorm with its mean square in float32."""
  wide = x.astype(jnp.float32)
  wide = wide * jax.lax.rsqrt(jnp.mean(wide**2, axis=-1, keepdims=True) + eps)
  return (wide * scale.astype(jnp.float32)[None, None]).astype(x.dtype)


def _rope(positions, width, theta):
  """cos and sin `[B, L, 1, width / 2]` of the rotary angles (RoFormer, arXiv 2104.09864)."""
  frequencies = theta ** (-jnp.arange(0, width, 2, dtype=jnp.float32) / width)
  angles = jnp.maximum(positions, 0)[..., None, None] * frequencies[None, None, None]
  return jnp.cos(angles), jnp.sin(angles)


def _rotate(x, rope):
  """Rotates the pairs (i, i + width / 2) of `x [B, L, heads, width]`, the Hugging Face pairing."""
  cos, sin = rope
  first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
  return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1).astype(
    x.dtype
  )
