"""Where arrays live: a mesh `(data, fsdp, tensor)` and rules from logical names to its axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils, multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from rljax.models.decoder import Model
from rljax.models.specs import Spec, is_spec

RULES: Mapping[str, str] = {
  'embed': 'fsdp',
  'heads': 'tensor',
  'kv_heads': 'tensor',
  'ff': 'tensor',
  'vocab': 'tensor',
}


def make_mesh(
  data: int = 1, fsdp: int = 1, tensor: int = 1, *, devices: Sequence[jax.Device] | None = None
) -> Mesh:
  """A mesh of `data * fsdp * tensor` devices with Auto axes.

  On TPU the axes follow the chips' torus, and `data` goes across slices, whose network is slow.

  Args:
    data: copies of the model that see different rows.
    fsdp: parts that parameters, optimizer state and rows are cut into.
    tensor: parts that heads, hidden units and the vocabulary are cut into.
    devices: all devices if None; may be those of a topology that nothing is attached to.

  One of the sizes may be -1: as many as are left.

  Raises:
    ValueError: if another size is below 1, or there are not exactly as many devices; 1 x 1 x 1
      takes the first of any number.
  """
  devices = jax.devices() if devices is None else list(devices)
  sizes = _fill({'data': data, 'fsdp': fsdp, 'tensor': tensor}, len(devices))
  shape, size = tuple(sizes.values()), math.prod(sizes.values())
  if size == 1:
    devices = devices[:1]
  if size != len(devices):
    raise ValueError(
      f'The mesh data={data} x fsdp={fsdp} x tensor={tensor} needs {size} devices but there are '
      f'{len(devices)}; their product must be {len(devices)}.'
    )
  slices = len({getattr(d, 'slice_index', 0) for d in devices if d.platform == 'tpu'})
  if slices > 1:
    if sizes['data'] % slices:
      raise ValueError(
        f'data ({sizes["data"]}) must be a multiple of the {slices} slices of the devices, between '
        'which only gradients should travel.'
      )
    grid = mesh_utils.create_hybrid_device_mesh(
      (shape[0] // slices, *shape[1:]), (slices, 1, 1), devices, allow_split_physical_axes=True
    )
  else:
    grid = mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
  return Mesh(grid, tuple(sizes), axis_types=(AxisType.Auto,) * 3)


def _fill(sizes: dict[str, int], count: int) -> dict[str, int]:
  """Mesh sizes with the one that is -1 replaced by what `count` devices leave for it."""
  open_ones = [name for name, size in sizes.items() if size == -1]
  if min(sizes.values()) < -1 or 0 in sizes.values() or len(open_ones) > 1:
    given = ', '.join(f'{name} ({size})' for name, size in sizes.items())
    raise ValueError(f'{given} must be at least 1; one of them may be -1, for what is left.')
  if not open_ones:
    return sizes
  filled = math.prod(size for size in sizes.values() if size > 0)
  if count % filled:
    raise ValueError(
      f'{open_ones[0]} is to take what is left, but {count} devices do not divide by the {filled} '
      f'of the other axes ({", ".join(f"{k}={v}" for k, v in sizes.items() if v > 0)}).'
    )
  return sizes | {open_ones[0]: count // filled}


def replicated(mesh: Mesh) -> NamedSharding:
  """The sharding of an array that every device holds whole."""
  return NamedSharding(mesh, PartitionSpec())


def rows(mesh: Mesh) -> NamedSharding:
  """The sharding of a batch: its leading axis over `data` and `fsdp`."""
  return NamedSharding(mesh, PartitionSpec(('data', 'fsdp')))


def local_rows(mesh: Mesh, count: int) -> np.ndarray:
  """Numbers of those of `count` rows that devices of this process hold, ascending."""
  held = rows(mesh).addressable_devices_indices_map((count,)).values()
  numbers = np.arange(count)
  return np.unique(np.concatenate([numbers[index] for index in held]))


def from_local_rows(mesh: Mesh, count: int, tree: Any) -> Any:
  """Arrays of `count` rows on the mesh, of which every process gives its own.

  Args:
    mesh: the mesh.
    count: rows in all.
    tree: NumPy arrays whose leading axis is `local_rows(mesh, count)`.
  """
  if jax.process_count() == 1:
    return jax.device_put(tree, rows(mesh))
  numbers, mine = np.arange(count), local_rows(mesh, count)

  def leaf(x):
    x = np.asarray(x)
    return jax.make_array_from_callback(
      (count, *x.shape[1:]), rows(mesh), lambda index: x[np.searchsorted(mine, numbers[index[0]])]
    )

  return jax.tree.map(leaf, tree)


def to_local_rows(x: jax.Array) -> np.ndarray:
  """What this process holds of an array that is split by rows: its `local_rows`, on the host."""
  parts = {shard.index[0].start or 0: shard.data for shard in x.addressable_shards}
  return np.concatenate([np.asarray(parts[start]) for start in sorted(parts)])


def to_hosts(tree: Any) -> Any:
  """Whole arrays on every process's host; all processes must call it."""
  if jax.process_count() == 1:
    return jax.device_get(tree)
  return multihost_utils.process_allgather(tree, tiled=True)


def row_shards(mesh: Mesh) -> int:
  """Number of parts that the rows of a batch are cut into."""
  return mesh.shape['data'] * mesh.shape['fsdp']


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


def by_rows(mesh: Mesh) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
  """For `models.decoder`: runs a function `(params, *rows) -> rows` on each device's rows alone.

  A loop over rows inside it reads parameters that were gathered before it, and its gradient is
  added up on each device and summed over devices once, after it. Left alone, the compiler does both
  in every turn of the loop. Rows must divide over `data * fsdp`.
  """
  if row_shards(mesh) == 1:
    return lambda f: f

  def local(f):
    def run(params, *args):
      split = rows(mesh).spec
      mapped = jax.shard_map(
        f,
        mesh=mesh,
        in_specs=(PartitionSpec(), *(split for _ in args)),
        out_specs=split,
        axis_names={'data', 'fsdp'},
        check_vma=False,
      )
      return mapped(params, *args)

    return run

  return local


def gather_to_decode(model: Model, mesh: Mesh) -> Model:
  """The model, but decoding steps read weights that were gathered over `fsdp` once, before them.

  Each device then holds the weights divided by `tensor` alone while it samples. Left on their
  shards, they are gathered anew for every token. What stands beside or in the place of a weight and
  has another shape, as the factors of an adapter, is gathered whole.
  """
  if mesh.shape['fsdp'] == 1:
    return model
  where = params(model.specs, mesh, {k: v for k, v in RULES.items() if v != 'fsdp'})

  def gather(spec, sharding, part):
    def leaf(x):
      return jax.lax.with_sharding_constraint(
        x, sharding if x.shape == spec.shape else replicated(mesh)
      )

    return jax.tree.map(leaf, part)

  def unstack(params):
    gathered = jax.tree.map(gather, model.specs, where, params, is_leaf=is_spec)
    return model.unstack(gathered)

  return model._replace(unstack=unstack)


def hold_rows(mesh: Mesh) -> Callable[[jax.Array], jax.Array]:
  """For `models.decoder`: keeps activations `[B, ...]` split by rows alone.

  Left alone, the compiler lets activations inherit the split of the weights: every device then
  computes a slice of all rows and holds as many times the memory as there are parts. With one token
  a row, as in decoding, the compiler may choose: it moves what is smaller, activations or weights.
  """

  def hold(x):
    if mesh.size == 1 or x.shape[1] == 1:
      return x
    return jax.lax.with_sharding_constraint(x, rows(mesh))

  return hold
