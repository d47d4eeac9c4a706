"""Statistics of groups in both layouts of a batch.

A group function is written once, over the last axis: `fn(*arrays, where)` with arrays `[..., G]`.
`per_group` makes it serve rows `[B]` with a group id each as well, by way of a padded table
`[groups, size]`. Groups may be ragged and interleaved. Only numbers per sequence should travel this
way, never token arrays. Rows find their places by a sort, so on a mesh with Explicit axes `group`
and the arrays must be replicated; the `(P, G)` layout has no such need.
"""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def per_group(fn: Callable[..., jax.Array], batch: Any) -> Callable[..., jax.Array]:
  """`fn` for the layout of `batch`.

  With `batch.group` None, arrays are `(P, G)` and the result is `fn` itself. Otherwise it is a
  function of `[B]` arrays: they are laid out as tables `[groups, size]`, `fn(*tables, where=real)`
  is called with 1 on real members, and each row gets its own entry of the result, `[B]`.

  Args:
    fn: `(*arrays [..., G], where [..., G]) -> [..., G]`.
    batch: anything with `group` (int `[B]` or None) and `group_shape` (static: groups, largest
      size).
  Raises:
    ValueError: rows without `group_shape`; a result that does not hold one value per member; and
      what `to_table` refuses.

  >>> import types
  >>> rows = types.SimpleNamespace(group=jnp.array([0, 1, 0]), group_shape=(2, 2))
  >>> per_group(lambda r, where: jnp.cumsum(r, axis=-1), rows)(jnp.array([1.0, 2.0, 3.0]))
  Array([1., 2., 4.], dtype=float32)
  """
  if batch.group is None:
    return fn
  if batch.group_shape is None:
    raise ValueError(
      'batch.group is set and batch.group_shape is None. Rows need the static pair '
      '(number of groups, largest group).'
    )
  group, group_shape = batch.group, tuple(batch.group_shape)

  def call(*arrays):
    tables = [to_table(x, group, group_shape) for x in arrays]
    real = to_table(jnp.ones_like(group, dtype=jnp.float32), group, group_shape)
    result = fn(*tables, where=real)
    if result.shape[:2] != group_shape:
      raise ValueError(
        f'A group function returned shape {result.shape}, needed is one value per member, '
        f'{group_shape}. Broadcast a value per group over the last axis.'
      )
    return from_table(result, group, group_shape)

  return call


def to_table(x: jax.Array, group: jax.Array, group_shape: tuple[int, int]) -> jax.Array:
  """Rows `[B]` as a table `[groups, size]`, each group in row order, the rest 0.

  A row has no place if its id is outside `[0, groups)` or `size` earlier rows share it. This raises
  ValueError where `group` is concrete. Under jit it cannot be seen: such a row is left out of the
  table, and `from_table` gives it NaN.

  Args:
    x: `[B]`, or `[B, ...]` with trailing axes that are carried along.
    group: int `[B]`.
    group_shape: (groups, size), static.
  """
  chex.assert_rank(group, 1)
  chex.assert_axis_dimension(x, 0, group.shape[0])
  _check_fit(group, group_shape)
  groups, size = group_shape
  x = jnp.asarray(x)
  flat = jnp.zeros_like(x, shape=(groups * size, *x.shape[1:]))
  flat = flat.at[_place(group, group_shape)].set(x, mode='drop')
  return flat.reshape(groups, size, *x.shape[1:])


def from_table(table: jax.Array, group: jax.Array, group_shape: tuple[int, int]) -> jax.Array:
  """The inverse of `to_table`: `[groups, size]` -> `[B]`, NaN for rows that have no place in it.

  Floats keep their type; integers and booleans become floats, so that NaN is possible.
  """
  chex.assert_rank(group, 1)
  _check_fit(group, group_shape)
  groups, size = group_shape
  chex.assert_axis_dimension(table, 0, groups)
  chex.assert_axis_dimension(table, 1, size)
  if not jnp.issubdtype(table.dtype, jnp.floating):
    table = stats.as_float(table)
  flat = table.reshape(groups * size, *table.shape[2:])
  return flat.at[_place(group, group_shape)].get(mode='fill', fill_value=jnp.nan)


def _place(group, group_shape):
  """Index of each row in the flattened table, `[B]`; one past the end for rows without a place."""
  groups, size = group_shape
  group = jnp.asarray(group)
  # Sorted stably, a row's slot is its distance from where its group begins.
  order = jnp.argsort(group, stable=True)
  ordered = group[order]
  slot = jnp.arange(group.shape[0]) - jnp.searchsorted(ordered, ordered, side='left')
  slot = jnp.zeros_like(slot).at[order].set(slot)
  fits = (group >= 0) & (group < groups) & (slot < size)
  return jnp.where(fits, group * size + slot, groups * size)


def _check_fit(group, group_shape):
  if not jnp.issubdtype(group.dtype, jnp.integer):
    raise ValueError(f'group holds ids and must be an integer array, not {group.dtype}.')
  # Ids on other hosts cannot be read here, nor can those of a trace.
  if isinstance(group, jax.core.Tracer) or not getattr(group, 'is_fully_addressable', True):
    return
  groups, size = group_shape
  counts = collections.Counter(jax.device_get(group).tolist())
  outside = sorted(g for g in counts if not 0 <= g < groups)
  if outside:
    raise ValueError(
      f'group holds {outside[:5]}; group_shape {group_shape} allows 0 to {groups - 1}.'
    )
  if counts and max(counts.values()) > size:
    largest, _ = counts.most_common(1)[0]
    raise ValueError(
      f'Group {largest} has {counts[largest]} members and group_shape {group_shape} has room for '
      f'{size}. The least group_shape for this batch is {(max(counts) + 1, counts[largest])}.'
    )


def partition(*keys: jax.Array) -> jax.Array:
  """Ids `[B]` of the rows that agree in every key: another partition of a batch than its groups.

  Rows have the same id exactly where all keys are equal. Ids are dense, below B, so that B is a
  static bound for segment sums whatever the number and sizes of the classes.

  Args:
    *keys: `[B]` each, of any type with an order: hashes of states, task and trajectory ids.

  >>> partition(jnp.array([7, 3, 7, 7]), jnp.array([0, 0, 1, 0]))
  Array([1, 0, 2, 1], dtype=int32)
  """
  chex.assert_equal_shape(keys)
  chex.assert_rank(keys[0], 1)
  order = jnp.lexsort(keys)
  # Sorted, a class begins where any key differs from the row before.
  change = [
    jnp.concatenate([k[:1] != k[:1], k[1:] != k[:-1]]) for k in (key[order] for key in keys)
  ]
  ids = jnp.cumsum(functools.reduce(jnp.logical_or, change)).astype(order.dtype)
  return jnp.zeros_like(order).at[order].set(ids)
