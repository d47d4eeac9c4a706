"""RAPO: the scale for groups without spread, and prompts that are solved."""

import jax.numpy as jnp
import numpy as np
import pytest
from parity import assert_close, both_precisions, exact, random_mask, run

from rljax import advantages, selection
from rljax.groups import per_group
from rljax.types import Batch

RNG = np.random.default_rng(0)
SHAPE = (9, 5)
REWARDS = exact(RNG.choice([0.0, 0.1, 1.0], SHAPE))
REWARDS[3] = 0.1
ADVANTAGES = exact(RNG.normal(size=SHAPE))
WHERE = random_mask(RNG, SHAPE)


def slow(values, rewards, where):
  groups = [[(p, g) for g in range(SHAPE[1]) if where[p, g]] for p in range(SHAPE[0])]
  groups = [group for group in groups if group]
  lively = [group for group in groups if len({rewards[at] for at in group}) > 1]
  found = np.zeros(SHAPE)
  for group in lively:
    for at in group:
      found[at] = values[at] * len(groups) / len(lively)
  return found


@both_precisions
def test_the_scale_equals_a_loop(dtype, tolerance):
  dirty = [np.where(WHERE > 0, x, np.nan) for x in (ADVANTAGES, REWARDS)]
  actual = run(advantages.rapo_scale, dtype, *dirty, WHERE)
  assert_close(actual, slow(ADVANTAGES, REWARDS, WHERE), tolerance)
  full = run(advantages.rapo_scale, dtype, ADVANTAGES, REWARDS)
  assert_close(full, slow(ADVANTAGES, REWARDS, np.ones(SHAPE)), tolerance)


def test_no_informative_group_gives_zero_and_all_leave_the_advantages_alone():
  ones = jnp.ones((3, 4))
  np.testing.assert_array_equal(advantages.rapo_scale(ones, 0.1 * ones), 0.0)
  mixed = jnp.tile(jnp.array([1.0, 0.0]), (3, 2))
  np.testing.assert_array_equal(advantages.rapo_scale(ones, mixed), 1.0)


def test_interleaved_groups_count_once_each():
  group = jnp.array([0, 1, 0, 2, 1, 0, 2, 1, 0])
  rows = Batch(group=group, group_shape=(3, 4))
  rewards = jnp.array([1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0])
  found = per_group(advantages.rapo_scale, rows)(jnp.ones(9), rewards)
  np.testing.assert_array_equal(found, np.where(group == 0, 3.0, 0.0))


@both_precisions
@pytest.mark.parametrize('size', [5, 10, 20])
def test_pruning_equals_a_loop(dtype, tolerance, size):
  rewards = np.array([[float(i < n) for i in range(size)] for n in range(size + 1)])
  expected = [[float(sum(row) < 0.9 * size - 1e-9)] * size for row in rewards]
  assert_close(run(selection.rapo_prune, dtype, rewards), expected, tolerance)
  assert_close(run(selection.rapo_prune, dtype, 0.1 * rewards), expected, tolerance)


def test_pruning_counts_real_members_alone():
  rewards, where = jnp.array([[1.0, 1.0, -1.0, 0.0]]), jnp.array([[1.0, 1.0, 0.0, 0.0]])
  np.testing.assert_array_equal(selection.rapo_prune(rewards, where), [[0.0, 0.0, 0.0, 0.0]])
  np.testing.assert_array_equal(selection.rapo_prune(rewards), [[1.0] * 4])
  np.testing.assert_array_equal(selection.rapo_prune(rewards, 0 * where), [[0.0] * 4])
