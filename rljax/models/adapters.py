"""Flax models behind the house's plain function: NNX and Linen modules as a `Model`.

A decoder whose call takes `(tokens, positions, cache)` and returns `(logits, cache)` fits as it is:

    model, params = models.from_nnx(module, init_cache=module.init_cache)
    model, params = models.from_linen(module, variables, init_cache=module.init_cache)
    completions = sampling.sample(model, params, prompt, key, group_size=8, ...)

Any other is given a `call` that translates. What all must keep to: a token at position -1 is
padding, seen by nobody; `attention.visible` makes the mask from positions, of a cache too if the
cache holds the positions of its slots. Sizes: B rows, L tokens given, S slots, V vocabulary.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from flax import linen, nnx

from rljax.models.decoder import Model
from rljax.models.specs import Spec


def from_nnx(
  module: nnx.Module,
  call: Callable[..., tuple[jax.Array, Any]] | None = None,
  init_cache: Callable[[int, int], Any] | None = None,
) -> tuple[Model, Any]:
  """An NNX decoder as a model and its parameters, nested dicts of arrays.

  The module is split once; `apply` puts it together again around the parameters it is given. Only
  `nnx.Param`s are parameters: other variables (tables, random streams) are constants, and what a
  call does to them is dropped.

  Args:
    module: the decoder; call `module.eval()` before if it has dropout.
    call: `(module, tokens [B, L], positions [B, L], cache | None) -> (logits [B, L, V], cache |
      None)`, perhaps with a last argument `segments`, int `[B, L]` or None, of packed rows; None is
      `module(tokens, positions, cache)`. Tokens of padding arrive as 0, its positions as -1.
    init_cache: `(B, S) -> ` an empty cache, every array of it either a scalar or with B first; None
      for a model without one, which is then sampled by running all tokens again for each new one:
      correct, and slow.

  Returns:
    The model, whose `specs` have the names of the variables' sharding metadata as logical axes
    (without metadata: replicated) and NaN for a scale, since the module drew its own values.
  """
  graph, *states = nnx.split(module, nnx.Param, ...)
  variables, rest = states
  flat: Any = nnx.to_flat_state(variables)
  paths = [(tuple(map(str, path)), path, leaf) for path, leaf in flat]

  def bind(params):
    leaves = [(path, leaf.replace(_get(params, names))) for names, path, leaf in paths]
    # Copied, so that a call may write to its variables: those of `rest` belong to no trace.
    return nnx.merge(graph, nnx.from_flat_state(leaves), rest, copy=True)

  params = _nest((names, leaf.get_value()) for names, _, leaf in paths)
  specs = _nest(
    (names, _spec(leaf.get_value(), leaf.get_metadata().get('out_sharding')))
    for names, _, leaf in paths
  )
  return _model(bind, call or _plain(module), init_cache, specs), params


def from_linen(
  module: linen.Module,
  variables: Any,
  call: Callable[..., tuple[jax.Array, Any]] | None = None,
  init_cache: Callable[[int, int], Any] | None = None,
) -> tuple[Model, Any]:
  """A Linen decoder and what its `init` returned, as a model and its parameters.

  The collection `params` is the parameters, without the boxes of partitioning metadata; other
  collections are constants.

  Args:
    module: the decoder.
    variables: `module.init(...)`.
    call: as for `from_nnx`; its first argument is the module bound to its variables.
    init_cache: as for `from_nnx`.

  Raises:
    ValueError: if the variables have no collection `params`.
  """
  if 'params' not in variables:
    raise ValueError(
      f"The variables have no collection 'params' but {sorted(variables)}; give all that "
      'module.init returned.'
    )
  rest = linen.meta.unbox({name: tree for name, tree in variables.items() if name != 'params'})

  def bind(params):
    return module.bind({'params': params, **rest})

  specs = jax.tree.map(
    lambda box: _spec(linen.meta.unbox(box), getattr(box, 'names', None)),
    variables['params'],
    is_leaf=lambda x: isinstance(x, linen.meta.AxisMetadata),
  )
  return _model(bind, call or _plain(module), init_cache, specs), linen.meta.unbox(
    variables['params']
  )


@flax.struct.dataclass
class Tokens:
  """The cache of a model that has none: all tokens so far.

  Attributes:
    tokens: int32 `[B, S]`.
    positions: int32 `[B, S]`, -1 where empty or padding.
    index: int32 `[]`, the next slot to write.
  """

  tokens: jax.Array
  positions: jax.Array
  index: jax.Array


def _model(bind, call, init_cache, specs) -> Model:
  takes_segments = 'segments' in inspect.signature(call).parameters

  def run(params, tokens, positions, cache, segments):
    tokens = jnp.maximum(tokens, 0)
    if takes_segments:
      return call(bind(params), tokens, positions, cache, segments)
    return call(bind(params), tokens, positions, cache)

  def again(params, tokens, positions, cache, segments):
    """Without a cache of its own: the new tokens among all before them, from the start."""
    if cache is None:
      return run(params, tokens, positions, None, segments)
    at = (0, cache.index)
    cache = Tokens(
      jax.lax.dynamic_update_slice(cache.tokens, tokens, at),
      jax.lax.dynamic_update_slice(cache.positions, positions, at),
      cache.index + tokens.shape[1],
    )
    logits, _ = run(params, cache.tokens, cache.positions, None, None)
    return jax.lax.dynamic_slice_in_dim(logits, at[1], tokens.shape[1], axis=1), cache

  def apply(params, tokens, positions, cache=None, segments=None):
    if segments is not None and not takes_segments:
      raise ValueError(
        'This model cannot tell packed examples apart, as its call takes no segments. Give a call '
        '(module, tokens, positions, cache, segments) that keeps them from seeing each other.'
      )
    if segments is not None and cache is not None:
      raise ValueError('Packed rows (segments) are for training; a cache holds one example a row.')
    step = run if init_cache else again
    logits, cache = step(params, tokens, positions, cache, segments)
    return logits.astype(jnp.float32), cache

  return Model(apply, init_cache or _empty, specs)


def _empty(rows: int, slots: int) -> Tokens:
  return Tokens(
    jnp.zeros((rows, slots), jnp.int32),
    jnp.full((rows, slots), -1, jnp.int32),
    jnp.zeros((), jnp.int32),
  )


def _plain(module):
  """The call of a module whose own is the house's, with `segments` if it takes them."""
  if 'segments' in inspect.signature(module.__call__).parameters:
    return lambda module, tokens, positions, cache, segments: module(
      tokens, positions, cache, segments=segments
    )
  return lambda module, tokens, positions, cache: module(tokens, positions, cache)


def _spec(value, names) -> Spec:
  return Spec(value.shape, tuple(names) if names else (None,) * value.ndim, math.nan)


def _nest(leaves) -> dict[str, Any]:
  """Nested dicts from pairs of a path of names and a leaf."""
  tree: dict[str, Any] = {}
  for (*parents, last), leaf in leaves:
    node = tree
    for parent in parents:
      node = node.setdefault(parent, {})
    node[last] = leaf
  return tree


def _get(tree, names):
  for name in names:
    tree = tree[name]
  return tree
