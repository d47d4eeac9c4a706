"""Low-rank adapters of a frozen base (LoRA, arXiv 2106.09685): what is trained is a small tree of
its own.

The adapter has the base's nested names and, for every adapted projection, factors `a` and `b`; the
base is shared with whoever else uses it, the reference model first of all:

    tree = lora.specs(model.specs, rank=8)
    adapter = models.init(key, tree)                       # b is 0: the policy is the base
    params = lora.join(base, adapter, alpha=16.0)          # for model.apply; copies nothing
    plain = lora.merge(params)                             # ordinary parameters again

In a train step the base is an argument that is neither differentiated nor donated:

    def step(state, base, batch):
      policy = lambda adapter, rows: score(lora.join(base, adapter, alpha=16.0), rows)
      return make_train_step(policy, method, tx)(state, batch)
"""

from __future__ import annotations

import difflib
import fnmatch
import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from rljax.models.linear import PROJECTIONS, LowRank, dense
from rljax.models.specs import Spec, is_spec


def specs(base: Any, *, rank: int, targets: Sequence[str] = ('*',)) -> dict[str, Any]:
  """The adapter's parameters as a tree of `Spec`, for `models.init` and the sharding rules.

  Args:
    base: the decoder's tree of `Spec`.
    rank: R.
    targets: patterns (`*` any letters, `?` one) over the paths of projections, such as
      'layers/query'; '*' takes every projection.

  Returns:
    `a` starts at PEFT's standard deviation, `(3 * inputs) ** -0.5`, `b` at 0.

  Raises:
    ValueError: if the rank is below 1 or a pattern fits no projection.
  """
  if rank < 1:
    raise ValueError(f'rank is {rank}; it must be at least 1.')
  leaves = jax.tree_util.tree_leaves_with_path(base, is_leaf=is_spec)
  found = {'/'.join(key.key for key in path): spec for path, spec in leaves}
  found = {path: spec for path, spec in found.items() if path.split('/')[-1] in PROJECTIONS}
  for pattern in targets:
    if not fnmatch.filter(found, pattern):
      near = difflib.get_close_matches(pattern, found, 1)
      hint = f'Did you mean {near[0]!r}? ' if near else ''
      raise ValueError(
        f'The LoRA target {pattern!r} fits no projection. {hint}Projections: {", ".join(found)}.'
      )
  tree: dict[str, Any] = {}
  for path, spec in found.items():
    if any(fnmatch.fnmatchcase(path, pattern) for pattern in targets):
      *parents, name = path.split('/')
      node = tree
      for parent in parents:
        node = node.setdefault(parent, {})
      node[name] = _factors(spec, rank, 1 + PROJECTIONS[name])
  return tree


def join(base: Any, adapter: Any, *, alpha: float) -> Any:
  """Parameters for `model.apply`: the base's arrays themselves, with the factors beside them.

  The product of the factors counts `alpha / rank`.
  """
  if adapter.keys() == {'a', 'b'}:
    return LowRank(base, adapter['a'], adapter['b'], alpha / adapter['a'].shape[-1])
  return base | {name: join(base[name], part, alpha=alpha) for name, part in adapter.items()}


def merge(params: Any) -> Any:
  """Joined parameters as plain ones: `base + scale * a @ b`, summed in float32, in the base's type.

  Arrays that have no factors are handed through, a quantized base is expanded.
  """

  def leaf(weight):
    return _product(weight) if isinstance(weight, LowRank) else dense(weight)

  return jax.tree.map(leaf, params, is_leaf=lambda x: hasattr(x, 'project'))


def _factors(spec: Spec, rank: int, first: int) -> dict[str, Spec]:
  """Specs of a and b of one projection, whose outputs are the axes from `first` on."""
  scale = (3 * math.prod(spec.shape[1:first])) ** -0.5
  (layer, *_), (layer_axis, *_) = spec.shape, spec.axes
  return {
    'a': Spec((*spec.shape[:first], rank), (*spec.axes[:first], None), scale),
    'b': Spec((layer, rank, *spec.shape[first:]), (layer_axis, None, *spec.axes[first:]), 0.0),
  }


def _product(weight: LowRank) -> jax.Array:
  base = dense(weight.base)
  a, b = weight.a.astype(jnp.float32), weight.b.astype(jnp.float32)
  delta = jax.vmap(functools.partial(jnp.tensordot, axes=1))(a, b)  # layer by layer
  return (base.astype(jnp.float32) + weight.scale * delta).astype(base.dtype)
