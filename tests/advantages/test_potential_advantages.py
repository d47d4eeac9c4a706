import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import assert_close, both_precisions, exact, random_mask, run

from rljax import advantages

RNG = np.random.default_rng(5)
STEPS = np.arange(4) < np.array([4, 2, 3, 0, 1, 4])[:, None]
POTENTIALS = exact(RNG.uniform(-1, 1, (6, 4)))
POTENTIALS[0, :2], POTENTIALS[5, 0] = 0.95, 0.99
MASK = random_mask(RNG, (6, 9))
MASK[5] = 1
STEP_ID = np.tile(np.arange(9) // 2, (6, 1))
CENTRED = exact(RNG.normal(size=6))


def slow_gain(potentials, steps):
  rise = {
    (i, k): potentials[i, k] - potentials[i, k - 1] if k else 0.0
    for i, k in np.argwhere(steps).tolist()
  }
  low, high = min(rise.values()), max(rise.values())
  grown = {at: math.exp((d - low) / (high - low)) for at, d in rise.items()}
  found, mean = np.zeros(steps.shape), sum(grown.values()) / len(grown)
  for at, g in grown.items():
    found[at] = g - mean
  return found


def slow_spae(centred, potentials, steps, step_id, mask, alpha, xi, threshold):
  steps = steps & (mask.sum(-1, keepdims=True) > 0)
  gain, x = slow_gain(potentials, steps), np.zeros(mask.shape)
  for i, t in np.argwhere(mask > 0):
    n = int(steps[i].sum())
    x[i, t] = centred[i]
    if n:
      k = min(step_id[i, t], n - 1)
      solved = sum(phi > threshold for phi in potentials[i, :k])
      x[i, t] = centred[i] * (1 - alpha * (1 - math.exp(-solved))) + xi * gain[i, k]
  values = x[mask > 0]
  deviation = math.sqrt(np.sum((values - values.mean()) ** 2) / (len(values) - 1) + 1e-8)
  return np.where(mask > 0, (x - values.mean()) / deviation, 0)


@both_precisions
@pytest.mark.parametrize(('alpha', 'xi', 'threshold'), [(0.5, 0.5, 0.9), (0.3, 1.5, 0.2)])
def test_spae_equals_a_loop(dtype, tolerance, alpha, xi, threshold):
  expected = slow_spae(CENTRED, POTENTIALS, STEPS, STEP_ID, MASK, alpha, xi, threshold)
  garbage = np.where(STEPS, POTENTIALS, np.nan)

  def tried(*arrays):
    return advantages.spae(*arrays, alpha=alpha, xi=xi, threshold=threshold)

  found = run(tried, dtype, CENTRED, garbage, STEPS * 1.0, STEP_ID, MASK)
  assert_close(found, expected, tolerance, each=False)


@both_precisions
def test_gains_equal_a_loop_and_sum_to_zero(dtype, tolerance):
  found = run(advantages.potential_gain, dtype, POTENTIALS, STEPS * 1.0)
  assert_close(found, slow_gain(POTENTIALS, STEPS), tolerance, each=False)
  assert abs(found.sum()) < 10 * tolerance and np.abs(found).max() > 0.3


def test_gains_by_hand():
  # Differences 0, 1, -1: scaled to 1/2, 1, 0.
  found = advantages.potential_gain(jnp.array([[-0.5, 0.5, -0.5]]))
  grown = np.exp([0.5, 1.0, 0.0])
  np.testing.assert_allclose(found[0], grown - grown.mean(), rtol=1e-5)


@pytest.mark.parametrize('potentials', [[[0.1, 0.1, 0.1]], [[0.3], [0.7]]])
def test_equal_differences_give_exactly_zero(potentials):
  np.testing.assert_array_equal(advantages.potential_gain(jnp.array(potentials)), 0.0)


def test_without_any_step_only_the_outcome_counts():
  none = jnp.zeros((2, 3))
  found = advantages.spae(
    jnp.array([0.5, -0.5]), none + jnp.nan, none, jnp.zeros((2, 4), jnp.int32), jnp.ones((2, 4))
  )
  scale = 0.5 / np.sqrt(8 * 0.25 / 7 + 1e-8)
  np.testing.assert_allclose(found, [[scale] * 4, [-scale] * 4], rtol=1e-5)


def test_in_a_group_of_equal_rewards_the_rises_still_act():
  ids, ones = jnp.array([[0, 0, 1, 1]]), jnp.ones((1, 4))
  found = advantages.spae(jnp.array([0.0]), jnp.array([[0.0, 0.8]]), jnp.ones((1, 2)), ids, ones)
  assert (np.sign(found) == [[-1, -1, 1, 1]]).all()


def test_credit_fades_with_earlier_saturated_steps_only():
  found = advantages.saturation(jnp.array([[0.9, 0.91, 0.95, -1.0]]), alpha=0.5)
  expected = [1, 1, 1 - 0.5 * (1 - math.exp(-1)), 1 - 0.5 * (1 - math.exp(-2))]
  np.testing.assert_allclose(found[0], expected, rtol=1e-6)
  nothing = advantages.saturation(jnp.array([[1.0, 1.0]]), jnp.zeros((1, 2)))
  np.testing.assert_array_equal(nothing, 1.0)


@both_precisions
def test_probes_equal_loops(dtype, tolerance):
  where = random_mask(RNG, (3, 5, 4))
  entropy, probs = exact(RNG.uniform(0, 3, where.shape)), exact(RNG.random(where.shape))
  confidence, accuracy = np.zeros(3), np.zeros(3)
  for i in range(3):
    sure, right = [], []
    for n in range(5):
      real = [m for m in range(4) if where[i, n, m]]
      if real:
        sure.append(math.exp(-sum(entropy[i, n, m] for m in real) / len(real)))
        right.append(sum(probs[i, n, m] for m in real) / len(real))
    confidence[i], accuracy[i] = np.mean(sure), np.mean(right)
  dirty = np.where(where > 0, entropy, np.nan)
  assert_close(run(advantages.probe_confidence, dtype, dirty, where), confidence, tolerance)
  assert_close(run(advantages.probe_accuracy, dtype, probs, where), accuracy, tolerance)


def test_potentials_of_the_corners_and_of_all_between():
  accuracy, confidence = jnp.meshgrid(jnp.linspace(0, 1, 11), jnp.linspace(0, 1, 11))
  found = jax.jit(advantages.step_potential)(accuracy, confidence)
  assert found.min() == -1 and found.max() == 1
  assert float(advantages.step_potential(0.5, 0.8)) == pytest.approx(0.05)
  assert float(advantages.step_potential(1.0, 0.0)) == 0.5
