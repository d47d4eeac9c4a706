"""A decoder-only transformer as one plain function (RMSNorm, RoPE, grouped-query attention, gated
feed-forward blocks); `DecoderConfig` says which family it belongs to.

Sizes: B rows, L tokens given, S cache slots, D width, H heads, KV key-value heads, V vocabulary. A
position of -1 marks padding; see `attention.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp

from rljax.models import attention, rope
from rljax.models.config import DecoderConfig
from rljax.models.linear import project
from rljax.models.norm import rms_norm
from rljax.models.specs import specs

# Below this depth an unrolled program is both faster to run (6 to 12 % in training) and quick to
# compile; above it one scanned layer keeps compile time flat in depth.
_UNROLL_LAYERS = 4


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


def decoder(config: DecoderConfig) -> Model:
  """The decoder of these sizes as a `Model`."""

  def features(params, tokens, positions, cache=None, segments=None):
    return _features(config, params, tokens, positions, cache, segments)

  def unembed(params, x):
    head = params['embedding' if config.tied else 'head'].astype(x.dtype)
    logits = jnp.einsum('...d,vd->...v', x, head, preferred_element_type=jnp.float32)
    return attention.softcap(logits, config.logit_softcap)

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


def _features(config, params, tokens, positions, cache, segments):
  """Activations `[B, L, D]` before the head; packed examples have different `segments [B, L]`."""
  x = _embed(config, params, tokens)
  windows, kinds = _kinds(config)
  angles = [_angles(config, positions, window) for window in windows]
  if cache is None:
    visible = [attention.visible(positions, positions, window) for window in windows]
    if segments is not None:
      same = segments[:, :, None] == segments[:, None, :]
      visible = [each & same for each in visible]
    views = _choice(list(zip(angles, visible, strict=True)))

    def layer(x, inputs):
      weights, kind = inputs
      angles, visible = views(kind)
      query, key, value = _project(config, weights, x, angles)
      mixed = _attend(
        config, query, key.transpose(0, 2, 3, 1), value.transpose(0, 2, 1, 3), visible
      )
      return _rest(config, weights, x, mixed), None

    unroll = config.num_layers if config.num_layers <= _UNROLL_LAYERS else 1
    layer = _remat(config, layer, unroll)
    x, _ = jax.lax.scan(layer, x, (params['layers'], jnp.asarray(kinds)), unroll=unroll)
  else:
    if segments is not None:
      raise ValueError('Packed rows (segments) are for training; a cache holds one example a row.')
    slots = jax.lax.dynamic_update_slice(cache.positions, positions, (0, cache.index))
    visible = [attention.visible(positions, slots, window) for window in windows]
    keys, values = [], []
    for i, kind in enumerate(kinds):
      weights = jax.tree.map(lambda leaf, i=i: leaf[i], params['layers'])
      query, key, value = _project(config, weights, x, angles[kind])
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
      x = _rest(config, weights, x, _attend(config, query, keys[i], values[i], visible[kind]))
    cache = Cache(tuple(keys), tuple(values), slots, cache.index + tokens.shape[1])
  return _norm(config, x, params['final_norm']), cache


def _embed(config, params, tokens):
  dtype = jnp.dtype(config.dtype)
  x = params['embedding'][jnp.maximum(tokens, 0)].astype(dtype)
  # The scale is rounded to the activations' type first, as Gemma was trained.
  return x if config.embedding_scale == 1 else x * jnp.asarray(config.embedding_scale, dtype)


def _kinds(config):
  """The distinct windows of the layers, and the number of each layer's own among them."""
  windows = config.windows or (0,) * config.num_layers
  distinct = tuple(dict.fromkeys(windows))
  return distinct, [distinct.index(window) for window in windows]


def _angles(config, positions, window):
  """cos and sin for the layers with this window."""
  if window and config.local_rope_theta is not None:
    return rope.angles(positions, config.head_dim, config.local_rope_theta)
  return rope.angles(positions, config.head_dim, config.rope_theta, config.rope_scaling)


def _choice(options):
  """A function from a traced number to one of `options`, pytrees of equal shapes."""
  if len(options) == 1:
    return lambda _: options[0]
  stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *options)
  return lambda i: jax.tree.map(lambda leaf: leaf[i], stacked)


def _remat(config, layer, unroll):
  """The layer with the config's choice of what the backward pass computes anew."""
  if config.remat == 'none':
    return layer
  policy = {
    'dots': jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    'full': jax.checkpoint_policies.nothing_saveable,
  }[config.remat]
  # In a loop the compiler has no first computation at hand to put in the place of the second.
  return jax.checkpoint(layer, policy=policy, prevent_cse=unroll > 1)


def _project(config, weights, x, angles):
  """Rotated query `[B, L, H, dh]`, rotated key and value `[B, L, KV, dh]`."""
  x = _norm(config, x, weights['attention_norm'])
  query = project('bld,dhk->blhk', x, weights['query'])
  both = project('bld,dchk->cblhk', x, weights['key_value'])
  if config.qkv_bias:
    query += weights['query_bias'].astype(x.dtype)[None, None]
    both += weights['key_value_bias'].astype(x.dtype)[:, None, None]
  key, value = both[0], both[1]
  if config.qk_norm:
    query = _norm(config, query, weights['query_norm'])
    key = _norm(config, key, weights['key_norm'])
  return rope.rotate(query, angles), rope.rotate(key, angles), value


def _attend(config, query, key, value, visible):
  scale = config.head_dim**-0.5 if config.query_scale is None else config.query_scale
  return attention.attend(query, key, value, visible, scale=scale, cap=config.attention_softcap)


def _rest(config, weights, x, mixed):
  """The layer after its attention: output projection and feed-forward block."""
  mixed = project('blhk,hkd->bld', mixed, weights['attention_out'])
  if config.out_bias:
    mixed += weights['attention_out_bias'].astype(x.dtype)[None, None]
  if config.post_norms:
    mixed = _norm(config, mixed, weights['attention_post_norm'])
  x = x + mixed
  hidden = _feed_forward(config, weights, _norm(config, x, weights['ff_norm']))
  if config.post_norms:
    hidden = _norm(config, hidden, weights['ff_post_norm'])
  return x + hidden


def _feed_forward(config, weights, x):
  both = project('bld,dcf->cblf', x, weights['gate_up'])
  if config.ff_bias:
    both += weights['gate_up_bias'].astype(x.dtype)[:, None, None]
  activation = {'silu': jax.nn.silu, 'gelu_tanh': jax.nn.gelu}[config.activation]
  x = project('blf,fd->bld', activation(both[0]) * both[1], weights['down'])
  return x + weights['down_bias'].astype(x.dtype)[None, None] if config.ff_bias else x


def _norm(config, x, weight):
  return rms_norm(x, weight, config.norm_eps, offset=1.0 if config.centered_norms else 0.0)
