"""Where arrays live: a mesh `(data, fsdp, tensor)` and rules from logical names to its axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from rljax.models.specs import Spec, is_spec

RULES: Mapping[str, str] = {
  'embed': 'fsdp',
  'heads': 'tensor',
  'kv_heads': 'tensor',
  'ff': 'tensor',
  'vocab': 'tensor',
}


def make_mesh(data: int = 1, fsdp: int = 1, tensor: int = 1) -> Mesh:
  """A mesh of `data * fsdp * tensor` devices with Auto axes.

  Raises:
    ValueError: if a size is below 1, or there are not exactly as many devices; 1 x 1 x 1 takes the
      first of any number.
  """
  if min(data, fsdp, tensor) < 1:
    raise ValueError(f'data ({data}), fsdp ({fsdp}) and tensor ({tensor}) must be at least 1.')
  shape, devices = (data, fsdp, tensor), jax.devices()
  size = data * fsdp * tensor
  if size == 1:
    devices = devices[:1]
  if size != len(devices):
    raise ValueError(
      f'The mesh data={data} x fsdp={fsdp} x tensor={tensor} needs {size} devices but there are '
      f'{len(devices)}; their product must be {len(devices)}.'
    )
  return jax.make_mesh(
    shape, ('data', 'fsdp', 'tensor'), axis_types=(AxisType.Auto,) * 3, devices=devices
  )


def replicated(mesh: Mesh) -> NamedSharding:
  """The sharding of an array that every device holds whole."""
  return NamedSharding(mesh, PartitionSpec())


def rows(mesh: Mesh) -> NamedSharding:
  """The sharding of a batch: its leading axis over `data` and `fsdp`."""
  return NamedSharding(mesh, PartitionSpec(('data', 'fsdp')))


def params(specs: Any, mesh: Mesh, rules: Mapping[str, str] = RULES) -> Any:
  """Shardings for a tree of `Spec`; a logical name without a rule is replicated.

  Raises:
    ValueError: if an axis does not divide over its mesh axis.
  """

  def leaf(path, spec: Spec):
    axes = tuple(rules.get(name) if name else None for name in spec.axes)
    for size, name, axis in zip(spec.shape, spec.axes, axes, strict=True):
      if axis and size % mesh.shape[axis]:
        raise ValueError(
          f'{jax.tree_util.keystr(path)} has {size} {name}, which do not divide over the '
          f'{mesh.shape[axis]} devices of the mesh axis {axis!r}.'
        )
    return NamedSharding(mesh, PartitionSpec(*axes))

  return jax.tree_util.tree_map_with_path(leaf, specs, is_leaf=is_spec)


def like_params(tree: Any, params: Any, shardings: Any, mesh: Mesh) -> Any:
  """Shardings for a state that holds copies of the parameters' structure (an optimizer's moments).

  A leaf whose path ends in a parameter's path and that has its shape is sharded like that
  parameter, any other is replicated.
  """
  known = {
    tuple(path): (leaf.shape, sharding)
    for (path, leaf), sharding in zip(
      jax.tree_util.tree_flatten_with_path(params)[0], jax.tree.leaves(shardings), strict=True
    )
  }

  def leaf(path, x):
    for start in range(len(path)):
      shape, sharding = known.get(tuple(path[start:]), (None, None))
      if shape == x.shape:
        return sharding
    return replicated(mesh)

  return jax.tree_util.tree_map_with_path(leaf, tree)
