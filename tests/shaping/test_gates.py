"""Several rewards of one response: gates, stages, sums; and the price of retrieval."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import assert_close, both_precisions, exact, run

from rljax import shaping

RNG = np.random.default_rng(2)
SHAPE = (5, 6, 4)
LEVELS = exact(RNG.choice([-1.0, 0.0, 0.1, 0.5, 1.0, 1.5], SHAPE))
THRESHOLDS = exact(np.array([9.0, 0.1, -0.5, 0.5]))
WEIGHTS = exact(np.array([0.3, 1.0, -0.5, 2.0]))
CALLS = RNG.integers(0, 9, (5, 6)).astype(np.float64)
F1 = exact(RNG.uniform(0, 1, (5, 6)))


def each(fn):
  out = np.zeros(SHAPE[:2])
  for i in np.ndindex(*out.shape):
    out[i] = fn(LEVELS[i], i)
  return out


def slow_gated(levels, _):
  total = 0.0
  for i in range(len(levels)):
    if all(levels[j] > THRESHOLDS[j] for j in range(i + 1, len(levels))):
      total += levels[i]
  return total


def slow_progressive(stages, _):
  total = 0.0
  for k, s in enumerate(stages):
    total += WEIGHTS[k] * s
    if s < 1:
      break
  return total


def slow_sum(levels, _):
  return sum(w * x for w, x in zip(WEIGHTS, levels, strict=True))


CASES = {
  'gated': (slow_gated, shaping.gated_accumulation, (LEVELS, THRESHOLDS)),
  'progressive': (slow_progressive, shaping.progressive, (LEVELS, WEIGHTS)),
  'sum': (slow_sum, shaping.weighted_sum, (LEVELS, WEIGHTS)),
  'pra': (
    lambda _, i: sum(0.75 * 0.8**n for n in range(int(CALLS[i]))),
    lambda n: shaping.pra(n, a=0.75, k=0.8),
    (CALLS,),
  ),
  'caf': (
    lambda _, i: 1.5 * F1[i] * math.exp(-0.25 * CALLS[i]),
    lambda f, n: shaping.caf(f, n, a=1.5, b=0.25),
    (F1, CALLS),
  ),
}


@both_precisions
@pytest.mark.parametrize('name', CASES)
def test_rewards_equal_loops(name, dtype, tolerance):
  slow, fn, args = CASES[name]
  assert_close(run(fn, dtype, *args), each(slow), tolerance, each=False)


def test_the_outcome_at_its_threshold_keeps_the_steps_out():
  levels = jnp.array([[2.0, 0.5], [2.0, 0.75]])
  found = shaping.gated_accumulation(levels, jnp.array([0.0, 0.5]))
  np.testing.assert_array_equal(found, [0.5, 2.75])
  alone = shaping.gated_accumulation(jnp.array([[0.25]]), jnp.array([7.0]))
  np.testing.assert_array_equal(alone, [0.25])  # no level above it


def test_every_level_counts_only_if_all_above_it_pass():
  levels = jnp.array([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
  found = shaping.gated_accumulation(levels, jnp.zeros(3))
  np.testing.assert_array_equal(found, [0.0, 1.0, 3.0])


def test_no_call_earns_nothing_from_attenuation_and_loses_nothing_of_f1():
  assert shaping.pra(jnp.array(0), a=3.0, k=0.5) == 0
  assert shaping.caf(jnp.array(0.5), jnp.array(0), a=3.0, b=0.5) == 1.5


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 20), st.sampled_from([0.25, 0.5, 0.9]))
def test_each_further_call_adds_less(calls, k):
  r = np.asarray(shaping.pra(jnp.arange(calls, calls + 3), a=1.0, k=k), np.float64)
  assert r[0] <= r[1] <= r[2] <= 1 / (1 - k) + 1e-6
  np.testing.assert_allclose(r[1] - r[0], k**calls, atol=2e-6)


@pytest.mark.parametrize('k', [0.0, 1.0, 1.5])
def test_a_rate_that_does_not_attenuate_is_refused(k):
  with pytest.raises(ValueError, match=r'k must lie in \(0, 1\)'):
    shaping.pra(jnp.ones(2), a=1.0, k=k)


def test_weights_choose_the_reward_of_a_phase():
  columns = jnp.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
  found = shaping.weighted_sum(columns, jax.nn.one_hot(1, 3))
  np.testing.assert_array_equal(found, columns[:, 1])


def test_thresholds_and_weights_must_be_one_a_column():
  for fn in (shaping.gated_accumulation, shaping.progressive, shaping.weighted_sum):
    with pytest.raises(AssertionError):
      fn(jnp.ones((2, 3)), jnp.ones(2))


def test_a_judgement_is_held_to_its_range_and_a_failed_one_is_no_reward():
  found = shaping.rubric(jnp.array([0.3, 1.2, -0.1, jnp.nan, 1.0]))
  np.testing.assert_array_equal(found, np.float32([0.3, 1.0, 0.0, 0.0, 1.0]))
