import jax.numpy as jnp
import numpy as np
import pytest
from parity import assert_close, both_precisions, exact, random_mask, run

from rljax import selection

RNG = np.random.default_rng(0)
REWARDS = exact(RNG.integers(0, 2, (40, 4)) * 0.1)
WHERE = random_mask(RNG, REWARDS.shape)


def slow_mixed(rewards, where):
  keep = np.zeros_like(rewards)
  for p in range(len(rewards)):
    values = [r for r, w in zip(rewards[p], where[p], strict=True) if w]
    if len(values) == 1 or len(set(values)) > 1:
      keep[p] = where[p]
  return keep


@both_precisions
def test_mixed_equals_a_loop(dtype, tolerance):
  for where in (WHERE, np.ones_like(WHERE)):
    expected = slow_mixed(REWARDS, where)
    assert 0 < expected.sum() < where.sum()
    assert_close(run(selection.mixed, dtype, REWARDS, where), expected, tolerance)
  assert_close(run(selection.mixed, dtype, REWARDS), expected, tolerance)


@pytest.mark.parametrize('value', [0.1, 1 / 3, 0.0, 1.0])
@pytest.mark.parametrize('size', [2, 3, 7, 16])
def test_equal_values_are_dropped_and_a_single_one_is_kept(value, size):
  np.testing.assert_array_equal(selection.mixed(jnp.full((3, size), value)), 0.0)
  np.testing.assert_array_equal(selection.mixed(jnp.full((3, 1), value)), 1.0)


def test_values_that_are_not_real_do_not_mix_a_group():
  rewards, where = jnp.array([[1.0, 1.0, jnp.nan]]), jnp.array([[1.0, 1.0, 0.0]])
  np.testing.assert_array_equal(selection.mixed(rewards, where), 0.0)


def test_correctness_may_be_boolean():
  keep = selection.mixed(jnp.array([[True, False], [True, True]]))
  np.testing.assert_array_equal(keep, [[1.0, 1.0], [0.0, 0.0]])
  assert keep.dtype == jnp.float32
