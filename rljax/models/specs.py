"""One tree of `Spec`s from which initial values, shardings and checkpoint shapes follow."""

from __future__ import annotations

import math
import zlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rljax.models.config import DecoderConfig


class Spec(NamedTuple):
  """Shape, logical axis names and initial scale of one parameter.

  Attributes:
    shape: the array's shape.
    axes: a logical name for every axis; `rljax.training.sharding` maps names to mesh axes.
    scale: standard deviation of the initial values, 0 starts at zero; None starts at one.
  """

  shape: tuple[int, ...]
  axes: tuple[str | None, ...]
  scale: float | None


def is_spec(x: Any) -> bool:
  """Whether `x` is a leaf of a spec tree."""
  return isinstance(x, Spec)


def specs(config: DecoderConfig) -> dict[str, Any]:
  """The decoder's parameters as a tree of `Spec`; layers are stacked on the first axis."""
  c = config
  n, d, f = c.num_layers, c.dim, c.ff_dim
  out_scale = 1 / math.sqrt(2 * n)  # keeps the residual stream's variance flat in depth (GPT-2)
  norm = 0.0 if c.centered_norms else None
  layers = {
    'attention_norm': Spec((n, d), ('layer', None), norm),
    'query': Spec((n, d, c.num_heads, c.head_dim), ('layer', 'embed', 'heads', None), d**-0.5),
    'key': Spec((n, d, c.num_kv_heads, c.head_dim), ('layer', 'embed', 'kv_heads', None), d**-0.5),
    'value': Spec(
      (n, d, c.num_kv_heads, c.head_dim), ('layer', 'embed', 'kv_heads', None), d**-0.5
    ),
    'attention_out': Spec(
      (n, c.num_heads, c.head_dim, d),
      ('layer', 'heads', None, 'embed'),
      out_scale * (c.num_heads * c.head_dim) ** -0.5,
    ),
    'ff_norm': Spec((n, d), ('layer', None), norm),
    'gate': Spec((n, d, f), ('layer', 'embed', 'ff'), d**-0.5),
    'up': Spec((n, d, f), ('layer', 'embed', 'ff'), d**-0.5),
    'down': Spec((n, f, d), ('layer', 'ff', 'embed'), out_scale * f**-0.5),
  }
  if c.qkv_bias:
    layers |= {
      'query_bias': Spec((n, c.num_heads, c.head_dim), ('layer', 'heads', None), 0.0),
      'key_bias': Spec((n, c.num_kv_heads, c.head_dim), ('layer', 'kv_heads', None), 0.0),
      'value_bias': Spec((n, c.num_kv_heads, c.head_dim), ('layer', 'kv_heads', None), 0.0),
    }
  if c.out_bias:
    layers['attention_out_bias'] = Spec((n, d), ('layer', None), 0.0)
  if c.ff_bias:
    layers |= {
      'gate_bias': Spec((n, f), ('layer', 'ff'), 0.0),
      'up_bias': Spec((n, f), ('layer', 'ff'), 0.0),
      'down_bias': Spec((n, d), ('layer', None), 0.0),
    }
  if c.qk_norm:
    layers |= {
      'query_norm': Spec((n, c.head_dim), ('layer', None), norm),
      'key_norm': Spec((n, c.head_dim), ('layer', None), norm),
    }
  if c.post_norms:
    layers |= {
      'attention_post_norm': Spec((n, d), ('layer', None), norm),
      'ff_post_norm': Spec((n, d), ('layer', None), norm),
    }
  tree = {
    'embedding': Spec((c.vocab_size, d), ('vocab', 'embed'), d**-0.5),
    'layers': layers,
    'final_norm': Spec((d,), (None,), norm),
  }
  if not c.tied:
    tree['head'] = Spec((c.vocab_size, d), ('vocab', 'embed'), d**-0.5)
  return tree


def init(key: jax.Array, tree: Any, dtype: Any = jnp.float32) -> Any:
  """Initial values for a tree of `Spec`; a leaf's draw depends on the key and its path alone."""

  def leaf(path, spec):
    if spec.scale is None:
      return jnp.ones(spec.shape, dtype)
    if spec.scale == 0:
      return jnp.zeros(spec.shape, dtype)
    leaf_key = jax.random.fold_in(key, zlib.crc32(jax.tree_util.keystr(path).encode()))
    return (spec.scale * jax.random.normal(leaf_key, spec.shape, jnp.float32)).astype(dtype)

  return jax.tree_util.tree_map_with_path(leaf, tree, is_leaf=is_spec)


def count(tree: Any) -> int:
  """Number of parameters in a tree of `Spec`."""
  return sum(math.prod(spec.shape) for spec in jax.tree.leaves(tree, is_leaf=is_spec))
