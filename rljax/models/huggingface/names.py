"""Which tensor of a checkpoint is which part of which parameter: one table for each family.

In a checkpoint a layer's projection is a matrix [outputs, inputs]; here layers are stacked, inputs
come first, and heads have an axis.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from rljax.models.config import DecoderConfig
from rljax.models.specs import specs

_ALL = slice(None)


class Row(NamedTuple):
  """One line of a table.

  Attributes:
    name: of the tensor, after `model.layers.<i>.`.
    leaf: of `params['layers']`.
    inputs: how many axes of the leaf, after that of the layers, are the matrix's inputs; 0 for a
      vector.
  """

  name: str
  leaf: str
  inputs: int = 0


_PROJECTIONS = (
  Row('self_attn.q_proj.weight', 'query', inputs=1),
  Row('self_attn.k_proj.weight', 'key', inputs=1),
  Row('self_attn.v_proj.weight', 'value', inputs=1),
  Row('self_attn.o_proj.weight', 'attention_out', inputs=2),
  Row('self_attn.q_proj.bias', 'query_bias'),
  Row('self_attn.k_proj.bias', 'key_bias'),
  Row('self_attn.v_proj.bias', 'value_bias'),
  Row('self_attn.o_proj.bias', 'attention_out_bias'),
  Row('self_attn.q_norm.weight', 'query_norm'),
  Row('self_attn.k_norm.weight', 'key_norm'),
  Row('mlp.gate_proj.weight', 'gate', inputs=1),
  Row('mlp.up_proj.weight', 'up', inputs=1),
  Row('mlp.down_proj.weight', 'down', inputs=1),
  Row('mlp.gate_proj.bias', 'gate_bias'),
  Row('mlp.up_proj.bias', 'up_bias'),
  Row('mlp.down_proj.bias', 'down_bias'),
  Row('input_layernorm.weight', 'attention_norm'),
)
_LLAMA = (*_PROJECTIONS, Row('post_attention_layernorm.weight', 'ff_norm'))
_GEMMA = (
  *_PROJECTIONS,
  Row('post_attention_layernorm.weight', 'attention_post_norm'),
  Row('pre_feedforward_layernorm.weight', 'ff_norm'),
  Row('post_feedforward_layernorm.weight', 'ff_post_norm'),
)
TABLES: Mapping[str, tuple[Row, ...]] = {
  'llama': _LLAMA,
  'mistral': _LLAMA,
  'qwen2': _LLAMA,
  'qwen3': _LLAMA,
  'gemma2': _GEMMA,
  'gemma3_text': _GEMMA,
}


class Entry(NamedTuple):
  """One tensor and its place.

  Attributes:
    name: in the checkpoint.
    path: of the parameter.
    place: where in the parameter.
    shape: of the tensor.
    part: the shape of that place.
    inputs: as in `Row`.
  """

  name: str
  path: tuple[str, ...]
  place: tuple[int | slice, ...]
  shape: tuple[int, ...]
  part: tuple[int, ...]
  inputs: int

  def to_part(self, tensor: np.ndarray) -> np.ndarray:
    """A view of the tensor as it stands in the parameter."""
    turned = tensor.reshape(self.part[self.inputs :] + self.part[: self.inputs])
    return np.moveaxis(turned, range(-self.inputs, 0), range(self.inputs))

  def to_tensor(self, part: np.ndarray) -> np.ndarray:
    """The inverse of `to_part`."""
    turned = np.moveaxis(part, range(self.inputs), range(-self.inputs, 0))
    return np.ascontiguousarray(turned.reshape(self.shape))


def entries(kind: str, config: DecoderConfig) -> Iterator[Entry]:
  """Every tensor of a checkpoint of this family and decoder, in the order of the layers."""
  tree = specs(config)
  yield _entry(tree, 'model.embed_tokens.weight', ('embedding',), (), 0)
  for i in range(config.num_layers):
    for row in TABLES[kind]:
      if row.leaf in tree['layers']:
        name = f'model.layers.{i}.{row.name}'
        yield _entry(tree, name, ('layers', row.leaf), (i,), row.inputs)
  yield _entry(tree, 'model.norm.weight', ('final_norm',), (), 0)
  if not config.tied:
    yield _entry(tree, 'lm_head.weight', ('head',), (), 0)


def pick(tree: Any, path: tuple[str, ...]) -> Any:
  """The leaf of nested dicts at a path."""
  for name in path:
    tree = tree[name]
  return tree


def _entry(tree, name, path, index, inputs):
  whole = pick(tree, path).shape
  index = (*index, *(_ALL,) * (len(whole) - len(index)))
  part = tuple(size for size, i in zip(whole, index, strict=True) if isinstance(i, slice))
  shape = part
  if inputs:
    shape = (math.prod(part[inputs:]), math.prod(part[:inputs]))
  elif path[0] == 'layers':
    shape = (math.prod(part),)
  return Entry(name, path, index, shape, part, inputs)
