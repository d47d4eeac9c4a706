"""Weights of several objectives: RECAP's and RED's."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import assert_close, both_precisions, exact, run

from rljax import balance

RNG = np.random.default_rng(0)
NEWER = exact(RNG.uniform(0.1, 1.0, (4, 3, 5)))
OLDER = exact(RNG.uniform(0.1, 1.0, (4, 3, 5)))


def slow_recap(newer, older, temperature=5.0):
  """Weights of one set of objectives, lists of losses each."""
  scores = []
  for new, old in zip(newer, older, strict=True):
    mean, before = sum(new) / len(new), sum(old) / len(old)
    spread = math.sqrt(sum((x - mean) ** 2 for x in new) / len(new))
    scores.append((mean / before + spread / (mean + before)) / temperature)
  total = sum(math.exp(s) for s in scores)
  return [len(scores) * math.exp(s) / total for s in scores]


@both_precisions
@pytest.mark.parametrize('temperature', [5.0, 0.5])
def test_recap_weights_equal_a_loop(dtype, tolerance, temperature):
  expected = [slow_recap(n, o, temperature) for n, o in zip(NEWER, OLDER, strict=True)]
  found = run(
    lambda n, o: balance.recap_weights(n, o, temperature=temperature), dtype, NEWER, OLDER
  )
  assert_close(found, expected, tolerance)
  assert np.ptp(expected) > 0.05
  np.testing.assert_allclose(found.mean(-1), 1.0, rtol=1e-6)


@pytest.mark.parametrize('value', [0.1, 1 / 3, 0.0, 7.0])
def test_losses_that_do_not_move_weigh_one(value):
  losses = jnp.stack([jnp.full((3,), value), jnp.full((3,), 0.7)])
  np.testing.assert_allclose(balance.recap_weights(losses, losses), 1.0, rtol=1e-7)


def test_worsening_and_unsteady_objectives_weigh_more():
  flat = jnp.full((4,), 0.5)
  worse, swinging = jnp.full((4,), 0.8), jnp.array([0.2, 0.8, 0.2, 0.8])
  weights = balance.recap_weights(jnp.stack([flat, worse, swinging]), jnp.stack([flat] * 3))
  assert weights[0] < weights[1] and weights[0] < weights[2]


def test_losses_of_zero_are_finite():
  zero, some = jnp.zeros(2), jnp.full((2,), 0.5)
  weights = balance.recap_weights(jnp.stack([zero, some, zero]), jnp.stack([zero, zero, some]))
  assert np.isfinite(weights).all()
  assert weights[1] > 2.9
  gone = balance.recap_weights(jnp.stack([zero, some]), jnp.stack([some, some]))
  assert gone[0] < gone[1]


def test_the_recap_controller_weighs_evenly_until_its_windows_are_full():
  controller = balance.recap(3, 2)
  losses = exact(RNG.uniform(0.1, 1.0, (7, 3)))
  state = controller.init()
  update = jax.jit(controller.update)
  for t in range(7):
    state, weights = update(state, jnp.asarray(losses[t], jnp.float32))
    if t < 3:
      np.testing.assert_array_equal(weights, 1.0)
    else:
      newer, older = losses[t - 1 : t + 1].T, losses[t - 3 : t - 1].T
      np.testing.assert_allclose(weights, slow_recap(newer, older), rtol=1e-5)
      assert np.ptp(weights) > 1e-3


def test_a_window_without_steps_is_refused():
  with pytest.raises(ValueError, match='1 at least, not 0'):
    balance.recap(2, 0)


@both_precisions
def test_the_entropy_weight_equals_its_formula(dtype, tolerance):
  sft, rl = exact(RNG.normal(size=50)), exact(RNG.normal(size=50))
  rl[:3], sft[2] = 0.0, 0.0
  expected = [min(5.0, max(1.0, abs(s) / (abs(r) + 1e-8))) for s, r in zip(sft, rl, strict=True)]
  assert expected[:3] == [5.0, 5.0, 1.0] and len(set(expected)) > 10
  assert_close(run(balance.entropy_weight, dtype, sft, rl), expected, tolerance)


@both_precisions
def test_the_accuracy_weight_equals_its_formula(dtype, tolerance):
  accuracy = exact(RNG.uniform(0, 1, 20))
  accuracy[:3] = [0.0, 0.5, 1.0]
  expected = [3.0 ** (1 - 2 * a) for a in accuracy]
  found = run(lambda a: balance.accuracy_weight(a, limit=3.0), dtype, accuracy)
  assert_close(found, expected, tolerance)
  np.testing.assert_allclose(found[:3], [3.0, 1.0, 1 / 3], rtol=1e-6)


def test_the_entropy_balance_follows_moving_averages():
  controller = balance.entropy_balance(decay=0.9, initial=2.0, limit=4.0)
  state, averages = controller.init(), [2.0, 2.0]
  seen = []
  for sft, rl in [(3.0, 2.5), (1.0, 2.0), (2.8, 2.4), (0.1, 1.9)]:
    state, weight = controller.update(state, jnp.array([sft, rl]))
    new = [0.9 * a + 0.1 * h for a, h in zip(averages, (sft, rl), strict=True)]
    changes = [abs(a - b) for a, b in zip(new, averages, strict=True)]
    averages = new
    np.testing.assert_allclose(state, averages, rtol=1e-6)
    expected = min(4.0, max(1.0, changes[0] / (changes[1] + 1e-8)))
    np.testing.assert_allclose(weight, expected, rtol=1e-4)
    seen.append(expected)
  assert min(seen) < 3.0 < max(seen)
