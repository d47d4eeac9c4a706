"""LCPO's rewards against their formulas."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest
from parity import assert_close, both_precisions, exact, run

from rljax import shaping

RNG = np.random.default_rng(1)
SHAPE = (6, 7)
CORRECT = (RNG.random(SHAPE) < 0.6).astype(np.float64)
LENGTHS = RNG.integers(1, 8000, SHAPE).astype(np.float64)
TARGETS = RNG.integers(100, 4000, SHAPE).astype(np.float64)
TARGETS[0] = LENGTHS[0]
CORRECT[0] = [1, 1, 1, 0, 0, 1, 1]


def each(fn, **arguments):
  out = np.zeros(SHAPE)
  for at in np.ndindex(SHAPE):
    out[at] = fn(CORRECT[at], LENGTHS[at], TARGETS[at], **arguments)
  return out


def slow_exact(c, n, t, alpha=0.0003):
  return c - alpha * abs(t - n)


def slow_max(c, n, t, alpha=0.0003, delta=0.5):
  return c * min(1.0, max(0.0, alpha * (t - n) + delta))


@both_precisions
@pytest.mark.parametrize(
  ('fn', 'slow', 'arguments'),
  [
    (shaping.lcpo_exact, slow_exact, {}),
    (shaping.lcpo_exact, slow_exact, {'alpha': exact(0.01)}),
    (shaping.lcpo_max, slow_max, {}),
    (shaping.lcpo_max, slow_max, {'alpha': exact(0.002), 'delta': exact(0.25)}),
  ],
)
def test_target_rewards_equal_a_loop(dtype, tolerance, fn, slow, arguments):
  expected = each(slow, **arguments)
  found = run(functools.partial(fn, **arguments), dtype, CORRECT, LENGTHS, TARGETS)
  assert_close(found, expected, tolerance, each=False)
  assert expected.std() > 0.1


def test_exact_has_no_floor_and_charges_wrong_answers_too():
  found = shaping.lcpo_exact(
    jnp.array([1.0, 0.0]), jnp.array([9000, 9000]), jnp.array([1000, 1000])
  )
  np.testing.assert_allclose(found, [-1.4, -2.4], rtol=1e-6)


def test_max_is_half_at_the_target_and_nothing_for_wrong_answers():
  found = shaping.lcpo_max(
    jnp.array([1.0, 0.0, 1.0, 1.0]), jnp.array([50, 50, 9000, 10]), jnp.array([50, 50, 50, 9000])
  )
  np.testing.assert_array_equal(found, [0.5, 0.0, 0.0, 1.0])


@pytest.mark.parametrize('a', [0.01, 0.002])
def test_max_of_half_the_slope_is_what_the_released_code_computes(a):
  left = TARGETS - LENGTHS
  released = CORRECT * (np.clip(a * left, -1, 1) + 1) / 2
  fn = functools.partial(shaping.lcpo_max, alpha=a / 2)
  assert_close(run(fn, 'float64', CORRECT, LENGTHS, TARGETS), released, 1e-12, each=False)
