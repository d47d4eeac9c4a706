import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import assert_close, both_precisions, exact, run

from rljax import advantages, groups, selection, stats

GROUP = np.array([0, 1, 0, 2, 1, 0, 2, 1, 0])  # interleaved groups of 4, 3 and 2
SHAPE = (3, 4)
GROUP_FUNCTIONS = [advantages.grpo, advantages.center, advantages.rloo, selection.mixed]
REWARDS = exact(np.random.default_rng(0).normal(size=9))


def rows(group, group_shape):
  return types.SimpleNamespace(group=group, group_shape=group_shape)


def group_means(x, group):
  return np.array([np.mean([v for v, h in zip(x, group, strict=True) if h == g]) for g in group])


def mean_of_group(x, where=None):
  return jnp.broadcast_to(stats.mean(x, where, axis=-1, keepdims=True), x.shape)


def means(group, x):
  return groups.per_group(mean_of_group, rows(group, SHAPE))(x)


def test_regular_batches_use_the_function_itself():
  assert groups.per_group(advantages.grpo, rows(None, None)) is advantages.grpo


@both_precisions
def test_interleaved_ragged_groups_equal_a_loop(dtype, tolerance):
  assert_close(run(means, dtype, GROUP, REWARDS), group_means(REWARDS, GROUP), tolerance)


def test_where_marks_the_members_and_every_array_is_laid_out_alike():
  seen = {}

  def fn(x, y, where):
    seen.update(x=x, y=y, where=where)
    return x

  x = jnp.arange(1.0, 10.0)
  groups.per_group(fn, rows(jnp.asarray(GROUP), SHAPE))(x, -x)
  np.testing.assert_array_equal(seen['x'], [[1, 3, 6, 9], [2, 5, 8, 0], [4, 7, 0, 0]])
  np.testing.assert_array_equal(seen['y'], -seen['x'])
  np.testing.assert_array_equal(seen['where'], seen['x'] > 0)


def test_trailing_axes_are_carried_along():
  x = jnp.arange(18.0).reshape(9, 2)
  table = groups.to_table(x, jnp.asarray(GROUP), SHAPE)
  assert table.shape == (3, 4, 2)
  np.testing.assert_array_equal(groups.from_table(table, jnp.asarray(GROUP), SHAPE), x)


@pytest.mark.parametrize('fn', GROUP_FUNCTIONS)
def test_both_layouts_give_the_same_numbers(fn):
  regular = jnp.asarray(np.random.default_rng(1).integers(0, 3, (4, 3)), jnp.float32)
  order = np.random.default_rng(2).permutation(12)
  batch = rows(jnp.asarray(order // 3), (4, 3))
  result = groups.per_group(fn, batch)(regular.reshape(-1)[order])
  np.testing.assert_allclose(result, fn(regular).reshape(-1)[order], rtol=1e-6)


def test_a_larger_table_changes_nothing():
  x = jnp.asarray(REWARDS, jnp.float32)
  tight = groups.per_group(advantages.grpo, rows(jnp.asarray(GROUP), SHAPE))(x)
  loose = groups.per_group(advantages.grpo, rows(jnp.asarray(GROUP), (6, 9)))(x)
  np.testing.assert_allclose(loose, tight, rtol=1e-6)


def test_gradients_pass_through_the_table():
  batch = rows(jnp.asarray(GROUP), SHAPE)
  weights = jnp.arange(9.0)

  def total(x):
    return jnp.sum(weights * groups.per_group(mean_of_group, batch)(x))

  expected = group_means(np.arange(9.0), GROUP)
  np.testing.assert_allclose(jax.grad(total)(jnp.zeros(9)), expected, rtol=1e-6)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.permutations(range(9)))
def test_permuting_rows_permutes_results(order):
  order = np.array(order)
  shuffled = run(means, 'float64', GROUP[order], REWARDS[order])
  assert_close(shuffled, group_means(REWARDS, GROUP)[order], 1e-10)


@pytest.mark.parametrize(
  ('group', 'shape', 'words'),
  [
    ([0, 0, 0], (1, 2), r'Group 0 has 3 members .* room for 2.*\(1, 3\)'),
    ([0, 2, 1], (2, 2), r'\[2\].*0 to 1'),
    ([0, -1, 1], (2, 2), r'\[-1\].*0 to 1'),
    ([0.0, 1.0, 1.0], (2, 2), 'integer'),
  ],
)
def test_ids_that_do_not_fit_are_refused_where_they_can_be_read(group, shape, words):
  with pytest.raises(ValueError, match=words):
    groups.per_group(mean_of_group, rows(jnp.asarray(group), shape))(jnp.ones(3))


def test_rows_without_a_place_are_nan_under_jit_and_leave_the_others_alone():
  def fn(group, x):
    return groups.per_group(mean_of_group, rows(group, (2, 2)))(x)

  result = jax.jit(fn)(jnp.array([0, 0, 0, 1, 2, -1]), jnp.array([1.0, 3.0, 9.0, 5.0, 9.0, 9.0]))
  np.testing.assert_array_equal(result, [2.0, 2.0, np.nan, 5.0, np.nan, np.nan])


def test_flags_come_back_as_floats():
  batch = rows(jnp.asarray(GROUP), SHAPE)
  result = groups.per_group(lambda x, where: (x > 2) & (where > 0), batch)(jnp.arange(9.0))
  np.testing.assert_array_equal(result, np.arange(9) > 2)
  assert result.dtype == jnp.float32


def test_rows_need_a_group_shape():
  with pytest.raises(ValueError, match='group_shape is None'):
    groups.per_group(mean_of_group, rows(jnp.asarray(GROUP), None))


def test_one_value_per_group_is_refused():
  batch = rows(jnp.asarray(GROUP), SHAPE)
  with pytest.raises(ValueError, match='one value per member'):
    groups.per_group(lambda x, where: stats.mean(x, where, axis=-1), batch)(jnp.ones(9))


@pytest.mark.parametrize('fn', GROUP_FUNCTIONS)
def test_a_plain_row_of_rewards_is_never_one_big_group(fn):
  with pytest.raises(AssertionError):
    fn(jnp.ones(4))
