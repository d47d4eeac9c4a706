"""Shared by the tests of length rewards: groups of every kind, and both layouts of a group
function."""

import types

import jax.numpy as jnp
import numpy as np
from parity import assert_close, run

from rljax.groups import per_group

RNG = np.random.default_rng(11)
SHAPE = (11, 5)
WHERE = (RNG.random(SHAPE) < 0.8).astype(np.float64)
WHERE[:8] = 1.0
WHERE[1] = 0.0  # nobody
WHERE[2] = [0, 0, 1, 0, 0]  # one member
CORRECT = (RNG.random(SHAPE) < 0.5).astype(np.float64)
LENGTHS = RNG.integers(1, 5000, SHAPE).astype(np.float64)
CORRECT[3], CORRECT[4] = 0.0, 1.0  # all wrong, all right
CORRECT[5] = [0, 0, 1, 0, 0]
CORRECT[6], LENGTHS[6] = [1, 1, 1, 0, 0], [7, 7, 7, 9, 1]
CORRECT[7], LENGTHS[7] = [1, 0, 1, 0, 0], 1234


def loop(slow, correct=CORRECT, lengths=LENGTHS, where=WHERE):
  """`slow(correct, lengths)` of the lists of each group's members, laid out as the arrays."""
  out = np.zeros(where.shape)
  for p, row in enumerate(where):
    members = np.flatnonzero(row).tolist()
    if members:
      out[p, members] = slow([correct[p, i] for i in members], [lengths[p, i] for i in members])
  return out


def check(dtype, tolerance, fn, slow):
  """`fn(correct, lengths, where)` equals the loop: full, ragged with garbage, and in rows of
  interleaved groups."""
  full = np.ones(SHAPE)
  assert_close(run(fn, dtype, CORRECT, LENGTHS), loop(slow, where=full), tolerance)
  expected = loop(slow)
  assert (np.abs(expected) > 0).mean() > 0.2
  spoilt = [np.where(WHERE > 0, x, np.nan) for x in (CORRECT, LENGTHS)]
  assert_close(run(fn, dtype, *spoilt, WHERE), expected, tolerance)

  sizes = [4, 3, 2]
  places = [(g, i) for g, n in enumerate(sizes) for i in range(n)]
  places = [places[j] for j in np.random.default_rng(0).permutation(len(places))]
  rows = types.SimpleNamespace(
    group=jnp.array([g for g, _ in places], jnp.int32), group_shape=(3, 4)
  )
  table = [[5, 8, 9][g] for g in range(3)]  # a group with one right answer, and ragged ones
  correct, lengths = (np.array([x[table[g], i] for g, i in places]) for x in (CORRECT, LENGTHS))
  expected = np.zeros(len(places))
  for g in range(3):
    mine = [j for j, (h, _) in enumerate(places) if h == g]
    expected[mine] = slow([correct[j] for j in mine], [lengths[j] for j in mine])
  assert_close(
    run(lambda *x: per_group(fn, rows)(*x), dtype, correct, lengths), expected, tolerance
  )
