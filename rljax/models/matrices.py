"""Which parameters are matrices that activations pass through, for optimizers that treat those
apart."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

from rljax.models.linear import PROJECTIONS
from rljax.models.specs import is_spec


class Matrix(NamedTuple):
  """The axes of a parameter that are a matrix's inputs and outputs; those left number matrices.

  Attributes:
    inputs: axes that activations are multiplied over.
    outputs: axes of the product.
  """

  inputs: tuple[int, ...]
  outputs: tuple[int, ...]


def matrices(specs: Any) -> Any:
  """A `Matrix` for every projection in a tree of `Spec` and for both factors of a low-rank one.

  None for embedding, head, norms and biases, and for whatever has a name of another model.
  """

  def leaf(path, spec):
    *parents, name = (getattr(key, 'key', None) for key in path)
    if name in PROJECTIONS:
      first = 1 + PROJECTIONS[name]
    elif name in ('a', 'b') and parents and parents[-1] in PROJECTIONS:
      first = 2 if name == 'b' else 1 + PROJECTIONS[parents[-1]]
    else:
      return None
    return Matrix(tuple(range(1, first)), tuple(range(first, len(spec.shape))))

  return jax.tree_util.tree_map_with_path(leaf, specs, is_leaf=is_spec)
