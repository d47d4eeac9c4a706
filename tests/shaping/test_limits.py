"""Limits of length: who is within one, and where a round or a group's accuracy puts it."""

import functools

import jax
import jax.numpy as jnp
import length_tables
import numpy as np
import pytest
from parity import assert_close, both_precisions, run

from rljax import shaping

RNG = np.random.default_rng(3)
CORRECT = (RNG.random((4, 3, 5)) < 0.5).astype(np.float64)
LENGTHS = RNG.integers(1, 40, CORRECT.shape).astype(np.float64)
LENGTHS[0, 0] = [19, 20, 21, 20, 1]
CORRECT[0, 0] = [1, 1, 1, 0, 1]


@both_precisions
@pytest.mark.parametrize('limit', [20, 1, 0, 99])
def test_within_limit_equals_a_loop(dtype, tolerance, limit):
  expected = np.zeros(CORRECT.shape)
  for at in np.ndindex(CORRECT.shape):
    expected[at] = CORRECT[at] if LENGTHS[at] <= limit else 0.0
  found = run(functools.partial(shaping.within_limit, limit=limit), dtype, CORRECT, LENGTHS)
  assert_close(found, expected, tolerance)
  if limit == 20:
    np.testing.assert_array_equal(found[0, 0], [1, 1, 0, 0, 1])  # exactly the limit counts


def test_every_completion_may_have_a_limit_of_its_own():
  found = shaping.within_limit(jnp.ones(3), jnp.array([5, 6, 7]), limit=jnp.array([5.0, 5.0, 7.0]))
  np.testing.assert_array_equal(found, [1, 0, 1])


@pytest.mark.parametrize(
  ('limits', 'steps'), [((4000, 3000), 180), ((32, 24, 24, 1), 3), ((7,), 1)]
)
def test_the_limit_of_a_step_equals_a_loop_over_rounds(limits, steps):
  expected, left = [], list(limits)
  for step in range(len(limits) * steps + 5):
    if step and step % steps == 0 and len(left) > 1:
      left.pop(0)
    expected.append(left[0])
  at = jax.jit(functools.partial(shaping.limit_of_step, limits=limits, steps=steps))
  found = at(jnp.arange(len(expected)))
  np.testing.assert_array_equal(found, expected)
  assert found.dtype == jnp.float32 and float(at(0)) == limits[0]


@pytest.mark.parametrize('wrong', [{'limits': ()}, {'limits': (3, 4)}, {'steps': 0}])
def test_rounds_that_are_none_are_refused(wrong):
  with pytest.raises(ValueError, match='none is above the one before'):
    shaping.limit_of_step(0, **wrong)


def slow_limits(correct, lengths, thresholds, limits):
  del lengths
  share = sum(correct) / len(correct)
  return [float(limits[sum(1 for d in thresholds if share >= d)])] * len(correct)


@both_precisions
@pytest.mark.parametrize(
  ('thresholds', 'limits'), [((0.5,), (4000, 2000)), ((0.2, 0.6), (300, 200, 100)), ((), (8,))]
)
def test_limits_by_difficulty_equal_a_loop(dtype, tolerance, thresholds, limits):
  arguments = {'thresholds': thresholds, 'limits': limits}

  def fn(correct, lengths, where=None):
    assert lengths.shape == correct.shape
    return shaping.da_dler_limits(correct, where, **arguments)

  length_tables.check(dtype, tolerance, fn, functools.partial(slow_limits, **arguments))


def test_a_share_at_the_threshold_has_the_shorter_limit_and_wrong_groups_the_longest():
  correct = jnp.array([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
  np.testing.assert_array_equal(shaping.da_dler_limits(correct)[:, 0], [2000, 4000, 2000])
  tenths = jnp.array([[1.0] * 3 + [0.0] * 7])  # 3 / 10 in float32 is 0.3 in float32
  found = shaping.da_dler_limits(tenths, thresholds=(0.3,), limits=(2, 1))
  np.testing.assert_array_equal(found, 1.0)


def test_thresholds_and_limits_must_fit():
  with pytest.raises(ValueError, match='1 thresholds tell 2 limits apart, not 3'):
    shaping.da_dler_limits(jnp.ones((1, 2)), limits=(3, 2, 1))
