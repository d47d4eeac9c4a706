"""A frozen base in 8 or 4 bits, by qwix: with an adapter on top this is QLoRA (arXiv 2305.14314).

    base = quantized.quantize(base, 'nf4')
    params = lora.join(base, adapter, alpha=16.0)

Weights are stored small and expanded where they are used, one layer at a time; activations and the
adapter keep their type. Needs the package qwix (`pip install 'rljax[qlora]'`).
"""

from __future__ import annotations

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from rljax.models.linear import PROJECTIONS, project


@flax.struct.dataclass
class Quantized:
  """A weight as integers with scales; `array` is a `qwix.QArray` of the weight's shape."""

  array: Any

  def dense(self) -> jax.Array:
    """The weight in the type of its scales."""
    import qwix

    return qwix.dequantize(self.array)

  def project(self, x: jax.Array, axes: int) -> jax.Array:
    """The product with `self.dense()`, in the type of the activations."""
    return project(x, self.dense(), axes)


def quantize(params: Any, kind: str, *, block: int = 64) -> Any:
  """The decoder's parameters with every projection quantized; embedding and norms stay as they are.

  Args:
    params: plain parameters.
    kind: 'int8', one scale for each output; or 'nf4', one scale for each `block` of inputs.
    block: weights that share a scale in 'nf4', along their last axis of inputs; where that axis is
      shorter or no multiple, all of it shares one.

  Raises:
    ValueError: for another kind.
  """
  if kind not in ('int8', 'nf4'):
    raise ValueError(f"kind is {kind!r}; expected 'int8' or 'nf4'.")
  import qwix

  def leaf(path, weight):
    inputs = PROJECTIONS.get(path[-1].key)
    if not inputs:
      return weight
    shared = tuple(range(1, 1 + inputs)) if kind == 'int8' else (inputs,)
    tiles = {}
    if kind == 'nf4' and weight.shape[inputs] % block == 0:
      tiles = {inputs: block}
    return Quantized(
      qwix.quantize(
        weight,
        jnp.int8 if kind == 'int8' else kind,
        channelwise_axes=[axis for axis in range(weight.ndim) if axis not in shared],
        tiled_axes=tiles,
      )
    )

  return jax.tree_util.tree_map_with_path(leaf, params)
