"""A decoder-only transformer as one plain function (RMSNorm, RoPE, grouped-query attention,
SwiGLU).

Sizes: B rows, L tokens given, S cache slots, D width, H heads, KV key-value heads, V vocabulary. A
position of -1 marks padding; see `attention.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rljax.models import attention
from rljax.models import cache as caches
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


class Model(NamedTuple):
  """What the sampler, the scorer and the loops need to know of a model.

  Attributes:
    apply: `(params, tokens [B, L], positions [B, L], cache | None) -> (logits [B, L, V], cache |
      None)`.
    init_cache: `(rows, slots) -> ` an empty cache.
    specs: tree of `Spec`, the shape of `params`.
    features: like `apply`, up to the head: activations `[B, L, D]`. It also takes `segments [B, L]`
      of packed rows, and `fork=(Tp, G)` for rows that hold a prompt of Tp tokens and then its G
      continuations, which see the prompt and themselves. None for a model that offers `apply`
      alone.
    unembed: `(params, activations [..., D]) -> logits [..., V]`, float32; the head.
    unstack: `params -> params` in the form in which decoding reads them fastest.
  """

  apply: Callable[..., tuple[jax.Array, Any]]
  init_cache: Callable[[int, int], Any]
  specs: Any
  features: Callable[..., tuple[jax.Array, Any]] | None = None
  unembed: Callable[[Any, jax.Array], jax.Array] | None = None
  unstack: Callable[[Any], Any] = lambda params: params


def decoder(config: DecoderConfig) -> Model:
  """The decoder of these sizes as a `Model`."""

  def features(params, tokens, positions, cache=None, *, segments=None, fork=None):
    return _features(config, params, tokens, positions, cache, segments, fork)

  def unembed(params, x):
    head = params['embedding' if config.tied else 'head'].astype(x.dtype)
    return jnp.einsum('...d,vd->...v', x, head, preferred_element_type=jnp.float32)

  def apply(params, tokens, positions, cache=None):
    x, cache = features(params, tokens, positions, cache)
    return unembed(params, x), cache

  def init_cache(rows, slots):
    return caches.empty(
      rows,
      slots,
      layers=config.num_layers,
      kv_heads=config.num_kv_heads,
      head_dim=config.head_dim,
      dtype=jnp.dtype(config.dtype),
    )

  def unstack(params):
    # A slice of a stacked weight would be copied at every step of a decoding loop.
    return {**params, 'layers': tuple(_layer(params, i) for i in range(config.num_layers))}

  return Model(apply, init_cache, specs(config), features, unembed, unstack)


def token_positions(tokens: jax.Array) -> jax.Array:
  """Positions of tokens `[..., L]`: 0, 1, 2, ... over those that are there, -1 elsewhere."""
  real = tokens >= 0
  return jnp.where(real, jnp.cumsum(real, axis=-1) - 1, -1)


def _features(config, params, tokens, positions, cache, segments, fork):
  """Activations `[B, L, D]` before the head; see `Model.features`."""
  dtype = jnp.dtype(config.dtype)
  x = params['embedding'][jnp.maximum(tokens, 0)].astype(dtype)
  rope = _rope(positions, config.head_dim, config.rope_theta)
  if cache is None:
    attend = (
      _plain(config, positions, segments) if fork is None else _forked(config, positions, *fork)
    )

    def layer(x, weights):
      return _rest(config, weights, x, attend(*_project(config, weights, x, rope))), None

    unroll = config.num_layers if config.num_layers <= _UNROLL_LAYERS else 1
    x, _ = jax.lax.scan(layer, x, params['layers'], unroll=unroll)
  else:
    if segments is not None or fork is not None:
      raise ValueError('segments and fork are for whole rows; a cache holds one sequence a row.')
    slots = jax.lax.dynamic_update_slice(cache.positions, positions, (0, cache.index))
    own, prefix = attention.visible(positions, slots), cache.prefix
    before = None if prefix is None else attention.visible(positions, prefix.positions)
    keys, values = [], []
    for i in range(config.num_layers):
      weights = _layer(params, i)
      query, key, value = _project(config, weights, x, rope)
      key, value = caches.write(cache, i, key, value)
      sets = [attention.Keys(key, value, own)]
      if prefix is not None:
        sets.append(attention.Keys(prefix.keys[i], prefix.values[i], before))
      x = _rest(config, weights, x, attention.attend(query, *sets, scale=config.head_dim**-0.5))
      keys.append(key)
      values.append(value)
    cache = caches.Cache(
      tuple(keys), tuple(values), slots, cache.index + tokens.shape[1], cache.prefix
    )
  return _rms_norm(x, params['final_norm'], config.norm_eps), cache


def _layer(params, i):
  """Weights of layer i, of stacked layers or of a tuple of layers."""
  layers = params['layers']
  return layers[i] if isinstance(layers, tuple) else jax.tree.map(lambda leaf: leaf[i], layers)


def _keys(key, value, visible):
  return attention.Keys(key.transpose(0, 2, 1, 3), value.transpose(0, 2, 1, 3), visible)


def _plain(config, positions, segments):
  """Attention of whole rows over themselves; packed examples have different `segments [B, L]`."""
  visible = attention.visible(positions, positions)
  if segments is not None:
    visible &= segments[:, :, None] == segments[:, None, :]

  def attend(query, key, value):
    return attention.attend(query, _keys(key, value, visible), scale=config.head_dim**-0.5)

  return attend


def _forked(config, positions, width, copies):
  """Attention in rows of a prompt and its continuations `[P, width + copies * T]`."""

  def split(x):
    return x[:, :width], x[:, width:].reshape(x.shape[0] * copies, -1, *x.shape[2:])

  prompt, rest = split(positions)
  in_prompt = attention.visible(prompt, prompt)
  before, own = attention.visible(rest, prompt), attention.visible(rest, rest)

  def attend(query, key, value):
    (query, later), (key, later_key), (value, later_value) = map(split, (query, key, value))
    scale = config.head_dim**-0.5
    first = attention.attend(query, _keys(key, value, in_prompt), scale=scale)
    after = attention.attend(
      later,
      _keys(later_key, later_value, own),
      _keys(key, value, before),
      scale=scale,
    )
    return jnp.concatenate([first, after.reshape(len(first), -1, *first.shape[2:])], axis=1)

  return attend


def _project(config, weights, x, rope):
  """Rotated query `[B, L, H, dh]`, rotated key and value `[B, L, KV, dh]`."""
  x = _rms_norm(x, weights['attention_norm'], config.norm_eps)
  query = project('bld,dhk->blhk', x, weights['query'])
  key = project('bld,dhk->blhk', x, weights['key_value'][:, 0])
  value = project('bld,dhk->blhk', x, weights['key_value'][:, 1])
  return _rotate(query, rope), _rotate(key, rope), value


def _rest(config, weights, x, mixed):
  """The layer after its attention: output projection and feed-forward block."""
  x = x + project('blhk,hkd->bld', mixed, weights['attention_out'])
  return x + _feed_forward(config, weights, x)


def _feed_forward(config, weights, x):
  x = _rms_norm(x, weights['ff_norm'], config.norm_eps)
  gate = project('bld,df->blf', x, weights['gate_up'][:, 0])
  up = project('bld,df->blf', x, weights['gate_up'][:, 1])
  return project('blf,fd->bld', _gated(gate, up), weights['down'])


@jax.checkpoint
def _gated(gate, up):
  """SwiGLU; of its values only the two arguments are kept for the gradient."""
  return jax.nn.silu(gate) * up


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
