"""The curve from hints to success, and the hint that it asks for next."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import least_squares

from rljax import curricula

RNG = np.random.default_rng(0)


def curve(parameters, p):
  k, mu, b = parameters
  return b + (1 - b) / (1 + np.exp(-k * (p + mu)))


def points(rates, accuracies, where):
  """The points of one prompt: means over equal rates, and the ends where they are not measured."""
  found = {}
  for p, y, w in zip(rates, accuracies, where, strict=True):
    if w:
      found.setdefault(float(p), []).append(float(y))
  found.setdefault(0.0, [0.0])
  found.setdefault(1.0, [1.0])
  return np.array(list(found)), np.array([sum(y) / len(y) for y in found.values()])


def best(p, y):
  """Least squares by another route: many starts of a trust-region solver."""
  tried = [
    least_squares(
      lambda x: curve(x, p) - y, (k, -middle, b), bounds=((0.1, -2, 0), (50, 1, 1 - 1e-6))
    )
    for k, middle, b in itertools.product((3.0, 30.0), (0.2, 0.8), (0.05, 0.5))
  ]
  return min(2 * t.cost for t in tried)


fit = jax.jit(curricula.seele_fit)
rate_of = jax.jit(curricula.seele_rate)


def random_rounds(prompts, rounds):
  rates = np.round(RNG.uniform(0, 1, (prompts, rounds)), 2)
  rates[:, -1] = np.where(RNG.random(prompts) < 0.3, rates[:, 0], rates[:, -1])
  rates[::5, 1], rates[1::5, 1] = 0.0, 1.0
  accuracies = np.clip(0.1 + rates**2 + RNG.normal(0, 0.15, rates.shape), 0, 1)
  accuracies = np.round(8 * accuracies) / 8
  where = (np.arange(rounds) < RNG.integers(1, rounds + 1, (prompts, 1))).astype(np.float64)
  return np.float32(rates), np.float32(accuracies), where


def test_the_squared_error_is_the_least_there_is():
  rates, accuracies, where = random_rounds(12, 4)
  found = fit(jnp.asarray(rates), jnp.asarray(accuracies), jnp.asarray(where, jnp.float32))
  for i in range(len(rates)):
    p, y = points(rates[i], accuracies[i], where[i])
    parameters = [np.float64(x[i]) for x in found]
    error = ((curve(parameters, p) - y) ** 2).sum()
    assert error <= best(p, y) + 1e-6
  assert (found.k > 0.09).all() and (found.k < 50.01).all()
  assert (found.b >= 0).all() and (found.b < 1).all()


@pytest.mark.parametrize('truth', [(8.0, -0.6, 0.0), (12.0, -0.4, 0.3), (20.0, -0.7, 0.1)])
def test_a_curve_is_found_again_from_its_points(truth):
  rates = np.array([[0.0, 0.3, 0.45, 0.55, 0.65, 0.8, 1.0]])
  found = fit(jnp.asarray(rates, jnp.float32), jnp.asarray(curve(truth, rates), jnp.float32))
  np.testing.assert_allclose([float(x[0]) for x in found], truth, rtol=5e-3, atol=2e-3)
  k, mu, b = truth
  rate = curricula.seele_inverse(found)
  np.testing.assert_allclose(rate[0], -mu - math.log(0.5 / (0.5 - b)) / k, atol=1e-3)
  np.testing.assert_allclose(curve(truth, rate[0]), 0.5, atol=5e-3)


def test_the_curve_and_its_inverse_undo_each_other():
  parameters = curricula.response.Fit(
    jnp.array([5.0, 20.0, 9.0]), jnp.array([-0.5, -0.3, -0.8]), jnp.array([0.0, 0.2, 0.4])
  )
  for target in (0.45, 0.5, 0.7):
    rate = curricula.seele_inverse(parameters, target=target)
    assert (rate > 0).all() and (rate < 1).all()
    np.testing.assert_allclose(curricula.response_curve(parameters, rate), target, rtol=1e-5)
    k, mu, b = (np.float64(x) for x in parameters)
    np.testing.assert_allclose(rate, -mu - np.log((1 - b) / (target - b) - 1) / k, rtol=1e-5)


def test_a_floor_at_the_target_needs_no_hint_and_a_hopeless_prompt_all_of_it():
  floor = curricula.response.Fit(jnp.full(3, 9.0), jnp.full(3, -0.5), jnp.array([0.5, 0.9, 0.49]))
  rate = curricula.seele_inverse(floor)
  assert rate[0] == rate[1] == 0
  late = curricula.response.Fit(jnp.array([9.0]), jnp.array([-1.5]), jnp.array([0.0]))
  assert curricula.seele_inverse(late)[0] == 1


def next_rate(rates, accuracies):
  """Of one prompt, in an array with room for six rounds."""
  rows = np.zeros((3, 1, 6), np.float32)
  rows[:, 0, : len(rates)] = rates, accuracies, np.ones(len(rates))
  return float(rate_of(*rows)[0])


def test_all_right_without_a_hint_stays_without_and_all_wrong_goes_on_to_the_end():
  assert next_rate([0.0], [1.0]) == 0
  assert next_rate([0.0, 0.0], [1.0, 0.75]) == 0
  assert 0.9 < next_rate([0.9], [0.0]) <= 1
  assert next_rate([0.99, 1.0], [0.0, 0.0]) > 0.99


def test_one_round_moves_the_rate_to_the_side_of_the_target():
  assert 0 < next_rate([0.8], [0.9]) < 0.8
  assert 0.4 < next_rate([0.4], [0.1]) < 1
  np.testing.assert_allclose(next_rate([0.6], [0.5]), 0.6, atol=0.02)


def test_equal_rates_count_as_one_round_of_their_mean():
  several = next_rate([0.3, 0.3, 0.3, 0.7], [0.5, 0.75, 1.0, 0.25])
  np.testing.assert_allclose(several, next_rate([0.3, 0.7], [0.75, 0.25]), atol=5e-3)
  separate = next_rate([0.299, 0.3, 0.301, 0.7], [0.5, 0.75, 1.0, 0.25])
  assert abs(several - separate) > 2e-2


def test_rounds_that_did_not_take_place_are_not_read():
  rates = jnp.array([[0.4, 0.7, jnp.nan], [0.2, jnp.nan, jnp.nan], [jnp.nan] * 3])
  accuracies = jnp.array([[0.25, 0.75, 9.0], [0.1, jnp.nan, 0.5], [jnp.nan] * 3])
  where = jnp.array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
  found = rate_of(rates, accuracies, where)
  np.testing.assert_allclose(found[0], next_rate([0.4, 0.7], [0.25, 0.75]), atol=2e-3)
  np.testing.assert_allclose(found[1], next_rate([0.2], [0.1]), atol=2e-3)
  assert 0 < found[2] < 1


def test_rounds_of_a_simulated_prompt_come_near_to_half():
  truth = (15.0, -0.55, 0.05)
  rates, accuracies = [7 / 8], []
  for _ in range(5):
    accuracies.append(float(curve(truth, rates[-1])))
    rates.append(next_rate(rates, accuracies))
  np.testing.assert_allclose(curve(truth, rates[-1]), 0.5, atol=0.05)


def test_the_first_rate_ever_leaves_one_token_and_later_ones_are_remembered():
  memory = curricula.seele_memory(5)
  state = memory.init()
  lengths = jnp.array([10, 4, 0])
  prompts = jnp.array([3, 1, 0])
  np.testing.assert_allclose(curricula.seele_start(state[prompts], lengths), [0.9, 0.75, 0.0])
  state, value = jax.jit(memory.update)(state, (prompts, jnp.array([0.5, 0.25, 0.0])))
  np.testing.assert_array_equal(value, state)
  np.testing.assert_allclose(curricula.seele_start(state[prompts], lengths), [0.5, 0.25, 0.0])
  assert np.isnan(state[jnp.array([2, 4])]).all()
