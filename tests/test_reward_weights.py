"""Weights of several rewards: hypervolume, gradients, trends."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import assert_close, both_precisions, exact, run

from rljax import reward_weights

RNG = np.random.default_rng(0)


def slow_hypervolume(points, reference):
  """By inclusion and exclusion of the boxes."""
  boxes = [p for p in points if all(a > b for a, b in zip(p, reference, strict=True))]
  total = 0.0
  for size in range(1, len(boxes) + 1):
    for some in itertools.combinations(boxes, size):
      sides = [
        min(values) - low for values, low in zip(zip(*some, strict=True), reference, strict=True)
      ]
      total += (-1) ** (size + 1) * math.prod(sides)
  return total


def dominates(a, b):
  return all(x >= y for x, y in zip(a, b, strict=True))


@both_precisions
@pytest.mark.parametrize('k', [1, 2, 3, 4])
def test_hypervolumes_equal_inclusion_and_exclusion(dtype, tolerance, k):
  points = exact(RNG.uniform(-0.2, 1, (6, k)))
  points[1] = points[0]  # twice the same
  where = np.array([1, 1, 1, 1, 0, 1.0])
  reference = exact(RNG.uniform(-0.1, 0.1, k))
  real = points[where > 0].tolist()
  found = run(reward_weights.hypervolume, dtype, points, reference, where)
  volume = slow_hypervolume(real, reference)
  assert_close(found, volume, tolerance)
  point = exact(RNG.uniform(0.5, 1.2, k))
  point[0] = exact(1.1)  # beyond all others
  found = run(reward_weights.hypervolume_gain, dtype, point, points, reference, where)
  gain = slow_hypervolume([*real, point.tolist()], reference) - volume
  assert_close(found, max(gain, 0.0), tolerance, each=False)
  assert gain > 0


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=5, max_size=5))
def test_a_front_of_whole_numbers_covers_that_many_cells(points):
  cells = {
    c
    for c in itertools.product(range(4), repeat=3)
    if any(dominates(p, [x + 1 for x in c]) for p in points)
  }
  found = jax.jit(reward_weights.hypervolume)(jnp.array(points, jnp.float32), jnp.zeros(3))
  assert float(found) == len(cells)


def test_what_is_beaten_or_below_the_reference_adds_exactly_0():
  points = jnp.array([[0.3, 0.7], [0.1, 0.9]])
  for point in ([0.3, 0.7], [0.2, 0.7], [-1.0, 5.0]):
    gain = reward_weights.hypervolume_gain(jnp.array(point), points, jnp.zeros(2))
    assert float(gain) == 0.0
  assert float(reward_weights.hypervolume(points, jnp.zeros(2), jnp.zeros(2))) == 0.0


@pytest.mark.parametrize('maximize', [None, (True, False, True)])
def test_the_multiplier_follows_a_list_of_points(maximize):
  sign = np.array([1.0, -1.0, 1.0]) if maximize else np.ones(3)
  reference = exact([0.1, 0.2, 0.0])
  controller = reward_weights.hypervolume_multiplier(reference.tolist(), 6, maximize=maximize)
  state, update, front = controller.init(), jax.jit(controller.update), []
  assert state['factor'] == 1.0
  factors = []
  for step in range(12):
    if step == 3:
      state, factor = update(state, jnp.array([0.5, np.nan, 0.5]))
      assert float(factor) == factors[-1]
      continue
    v = exact(sign * (sign * reference + RNG.uniform(-0.1, 0.3 + 0.05 * step, 3)))
    state, factor = update(state, jnp.asarray(v, jnp.float32))
    upwards, origin = (sign * v).tolist(), (sign * reference).tolist()
    g = slow_hypervolume([*front, upwards], origin) - slow_hypervolume(front, origin)
    np.testing.assert_allclose(factor, 0.5 + 1.5 * math.tanh(max(g, 0.0)), rtol=1e-5)
    if g > 1e-9:
      front = [p for p in front if not dominates(upwards, p)] + [upwards]
    factors.append(float(factor))
    assert int(state['real'].sum()) == len(front) <= 6
  assert min(factors) == 0.5 < 0.6 < max(factors)


def test_a_full_front_gives_the_place_of_what_adds_least():
  controller = reward_weights.hypervolume_multiplier([0.0, 0.0], 2)
  state = controller.init()
  for v in ([1.0, 3.0], [1.1, 2.9], [3.0, 1.0]):
    state, factor = controller.update(state, jnp.array(v))
    assert factor > 0.5
  kept = state['points'][jnp.argsort(state['points'][:, 0])]
  np.testing.assert_allclose(kept, [[1.1, 2.9], [3.0, 1.0]], rtol=1e-6)
  assert state['real'].all()
  with pytest.raises(ValueError, match='capacity'):
    reward_weights.hypervolume_multiplier([0.0], 0)
  with pytest.raises(ValueError, match='2 entries and reference 1'):
    reward_weights.hypervolume_multiplier([0.0], 1, maximize=[True, True])


def slow_reweigh(weights, influence, step):
  raised = [w * math.exp(step * i) for w, i in zip(weights, influence, strict=True)]
  return [r / sum(raised) for r in raised]


@both_precisions
def test_gradient_weights_equal_a_loop(dtype, tolerance):
  gradients = exact(RNG.normal(size=(3, 4, 2)))
  flat = gradients.reshape(3, -1).tolist()
  influence = [sum(sum(a * b for a, b in zip(g, h, strict=True)) for h in flat) for g in flat]
  found = run(reward_weights.gradient_influence, dtype, gradients)
  assert_close(found, influence, tolerance, each=False)
  halves = {'a': gradients[:, :1], 'b': gradients[:, 1:]}
  np.testing.assert_allclose(
    reward_weights.gradient_influence(jax.tree.map(jnp.asarray, halves)), influence, rtol=1e-4
  )
  weights = exact([0.2, 0.0, 0.8])
  found = run(lambda w, i: reward_weights.reweigh(w, i), dtype, weights, exact(influence))
  assert_close(found, slow_reweigh(weights, exact(influence), 0.1), tolerance)
  assert found[1] == 0


def test_the_gradient_controller_moves_every_so_many_steps():
  controller = reward_weights.gradient_weights(3, learning_rate=0.01, mu=0.1, every=2)
  state, update = controller.init(), jax.jit(controller.update)
  expected, gathered = [1 / 3] * 3, np.zeros(3)
  for step in range(1, 6):
    gradients = exact(RNG.normal(size=(3, 5)))
    gathered += gradients @ gradients.sum(0)
    if step % 2 == 0:
      expected, gathered = slow_reweigh(expected, gathered / 2, 0.1), np.zeros(3)
    state, weights = update(state, jnp.asarray(gradients, jnp.float32))
    np.testing.assert_allclose(weights, expected, rtol=1e-4)
  assert np.ptp(expected) > 0.01
  with pytest.raises(ValueError, match='1 at least, not 0'):
    reward_weights.gradient_weights(2, every=0)


def slow_slope(values):
  n = len(values)
  if n < 2:
    return 0.0
  middle, mean = (n - 1) / 2, sum(values) / n
  rise = sum((t - middle) * (v - mean) for t, v in enumerate(values))
  return rise / sum((t - middle) ** 2 for t in range(n))


@both_precisions
@pytest.mark.parametrize('sign', [-1.0, 1.0])
def test_trend_weights_equal_a_loop(dtype, tolerance, sign):
  history = exact(RNG.uniform(0, 1, (4, 3, 6)))
  where = np.ones((4, 3, 6))
  where[1, :, :3], where[2, :, :5], where[3] = 0.0, 0.0, 0.0
  expected = []
  for rows, real in zip(history, where, strict=True):
    slopes = [
      slow_slope([v for v, w in zip(r, q, strict=True) if w])
      for r, q in zip(rows, real, strict=True)
    ]
    raised = [math.exp(sign * s / 0.1) for s in slopes]
    expected.append([r / sum(raised) for r in raised])
  found = run(
    lambda h, w: reward_weights.trend_weights(h, w, temperature=0.1, sign=sign),
    dtype,
    history,
    where,
  )
  assert_close(found, expected, tolerance)
  np.testing.assert_allclose(found[2:], 1 / 3, rtol=1e-6)
  assert np.ptp(expected[0]) > 0.01


def test_the_trend_controller_keeps_a_window_and_favours_what_lags():
  controller = reward_weights.dw_grpo(2, 3, temperature=0.5)
  state, update, seen = controller.init(), jax.jit(controller.update), []
  for _ in range(6):
    means = exact(RNG.uniform(0, 1, 2))
    seen.append(means)
    state, weights = update(state, jnp.asarray(means, jnp.float32))
    slopes = [slow_slope([m[k] for m in seen[-3:]]) for k in range(2)]
    raised = [math.exp(-s / 0.5) for s in slopes]
    np.testing.assert_allclose(weights, [r / sum(raised) for r in raised], rtol=1e-5)
    assert len(seen) == 1 or (weights[0] > weights[1]) == (slopes[0] < slopes[1])
  with pytest.raises(ValueError, match='2 at least, not 1'):
    reward_weights.dw_grpo(2, 1, temperature=1.0)
