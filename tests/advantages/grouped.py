"""Shared by the tests of group functions: a table of every kind of group, and both ways to call."""

import types

import jax.numpy as jnp
import numpy as np
from parity import assert_close, exact, run

from rljax.groups import per_group

RNG = np.random.default_rng(7)
SHAPE = (8, 5)
WHERE = np.ones(SHAPE)
WHERE[1] = 0.0  # nobody
WHERE[2] = [0, 0, 1, 0, 0]  # one member
WHERE[5] = [1, 1, 0, 1, 1]
WHERE[6] = [1, 1, 1, 0, 0]
WHERE[7] = [1, 0, 1, 0, 1]
SUCCESS = (RNG.random(SHAPE) < 0.5).astype(np.float64)
SUCCESS[0] = [1, 0, 0, 1, 0]
SUCCESS[4], SUCCESS[7] = 0.0, 1.0  # all wrong, all right
REWARDS = exact(SUCCESS + 0.1 * (RNG.random(SHAPE) < 0.4))
REWARDS[3] = exact(0.1)
REWARDS[6, :3] = exact(0.1)  # three times 0.1
LENGTHS = RNG.integers(1, 9, SHAPE).astype(np.float64)
LENGTHS[5] = 0.0  # a group without tokens


def loop(slow, where, arrays):
  """`slow(groups)` laid out like the arrays; a group is a tuple of lists, its members' entries."""
  places = [np.flatnonzero(row).tolist() for row in where]
  groups = [tuple([x[p, i] for i in ps] for x in arrays) for p, ps in enumerate(places)]
  out = np.zeros(where.shape)
  for p, (ps, values) in enumerate(zip(places, slow(groups), strict=True)):
    out[p, ps] = values
  return out


def each(slow):
  """A loop over one group's lists as one over groups; nobody is in an empty group."""
  return lambda groups: [slow(*g) if g[0] else [] for g in groups]


def check(dtype, tolerance, fn, slow, *arrays):
  """`fn` equals the loop on a table with garbage where nobody is, and on interleaved rows."""
  expected = loop(slow, WHERE, arrays)
  assert np.abs(expected).max() > 0.1
  spoilt = [x if x.dtype.kind == 'i' else np.where(WHERE > 0, x, np.nan) for x in arrays]
  found = run(lambda *a: fn(*a[:-1], where=a[-1]), dtype, *spoilt, WHERE)
  assert_close(found, expected, tolerance, each=False)
  assert (found[expected == 0] == 0).all()

  members = np.argwhere(WHERE > 0)
  members = members[np.random.default_rng(0).permutation(len(members))]
  rows = types.SimpleNamespace(group=jnp.asarray(members[:, 0], jnp.int32), group_shape=SHAPE)

  def at(x):
    return x[members[:, 0], members[:, 1]]

  in_rows = run(lambda *a: per_group(fn, rows)(*a), dtype, *map(at, arrays))
  assert_close(in_rows, at(expected), tolerance, each=False)
