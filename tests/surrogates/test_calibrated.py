"""The pull towards an expert, and the loss of offline completions."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import assert_close, both_precisions, exact, run

from rljax import surrogates

RNG = np.random.default_rng(0)
SHAPE = (6, 7)
LOGP = exact(-RNG.exponential(1.0, SHAPE))
DIFFERENCE = RNG.normal(0, 2.0, SHAPE)
DIFFERENCE[0] = [-25.0, 24.0, -20.5, 20.5, 0.0, 19.0, -19.0]
OTHER = exact(LOGP - DIFFERENCE)
ADVANTAGES = exact(RNG.normal(size=(6, 1)))
ADVANTAGES[5] = 0.0
CORRECT = np.array([1.0, 0.0, 1.0, 0.0, 0.0, 1.0])
ACCURACY = exact([1.0, 0.0, 0.25, 0.5, 0.75, 1.0])


def slow_calibrated(logp, expert, adv, correct, alpha):
  value, slope = np.zeros(logp.shape), np.zeros(logp.shape)
  for i, t in np.ndindex(logp.shape):
    sign = 1.0 if correct[i] > 0 else -1.0
    x = -sign * (logp[i, t] - expert[i, t])
    steep = 1.0 if x > 0 else alpha
    value[i, t] = abs(adv[i, 0]) * steep * x
    slope[i, t] = -sign * abs(adv[i, 0]) * steep
  return value, slope


def slow_policy_shift(logp, old, adv, accuracy):
  value, slope = np.zeros(logp.shape), np.zeros(logp.shape)
  for i, t in np.ndindex(logp.shape):
    log_ratio = logp[i, t] - accuracy[i] * old[i, t]
    value[i, t] = -adv[i, 0] * math.exp(max(-20.0, min(20.0, log_ratio)))
    slope[i, t] = value[i, t] if abs(log_ratio) <= 20 else 0.0
  return value, slope


@both_precisions
@pytest.mark.parametrize('alpha', [0.5, 0.0, 1.0])
def test_calibrated_and_its_gradient_equal_a_loop(dtype, tolerance, alpha):
  value, slope = slow_calibrated(LOGP, OTHER, ADVANTAGES, CORRECT, alpha)

  def fn(*args):
    return surrogates.calibrated(*args, alpha=alpha)

  args = (LOGP, OTHER, ADVANTAGES, CORRECT)
  assert_close(run(fn, dtype, *args), value, 10 * tolerance, each=False)
  gradient = jax.grad(lambda *args: fn(*args).sum())
  assert_close(run(gradient, dtype, *args), slope, tolerance)
  assert np.abs(slope).max() > 0


@pytest.mark.parametrize('right', [1.0, 0.0])
def test_the_slope_is_one_before_the_experts_level_and_alpha_at_it_and_past_it(right):
  logp, expert = jnp.array([[-3.0, -2.0, -1.0]]), jnp.full((1, 3), -2.0)

  def loss(logp):
    return surrogates.calibrated(logp, expert, jnp.full((1, 1), -2.0), jnp.array([right])).sum()

  expected = [[-2.0, -1.0, -1.0]] if right else [[1.0, 1.0, 2.0]]
  np.testing.assert_allclose(jax.grad(loss)(logp), expected)


def test_calibrated_is_nothing_where_all_rewards_are_equal():
  found = surrogates.calibrated(
    jnp.array([[-3.0, -1.0]]), jnp.full((1, 2), -2.0), jnp.zeros((1, 1)), jnp.ones(1)
  )
  np.testing.assert_array_equal(found, 0.0)


def test_expert_and_advantages_carry_no_gradient():
  arrays = [jnp.asarray(x, jnp.float32) for x in (LOGP, OTHER, ADVANTAGES, CORRECT)]
  for fn, at in ((surrogates.calibrated, (1, 2)), (surrogates.policy_shift, (1, 2))):
    for gradient in jax.grad(lambda *args, fn=fn: fn(*args).sum(), at)(*arrays):
      np.testing.assert_array_equal(gradient, 0.0)


@both_precisions
def test_policy_shift_and_its_gradient_equal_a_loop(dtype, tolerance):
  args = (LOGP, OTHER, ADVANTAGES, ACCURACY)
  value, slope = slow_policy_shift(*args)
  # In float32 a log-ratio of 20 has an error of 1e-6, which is that of its exponential.
  tolerance = max(tolerance, 3e-5 if dtype == 'float32' else 0)
  assert_close(run(surrogates.policy_shift, dtype, *args), value, tolerance)
  gradient = jax.grad(lambda *args: surrogates.policy_shift(*args).sum())
  assert_close(run(gradient, dtype, *args), slope, tolerance)
  assert np.abs(slope).max() > 0


def test_policy_shift_is_a_ratio_at_accuracy_one_and_a_probability_at_zero():
  logp, adv = jnp.asarray(LOGP, jnp.float32), jnp.ones((6, 1))
  old = jnp.asarray(OTHER, jnp.float32)
  np.testing.assert_allclose(
    surrogates.policy_shift(logp, old, adv, jnp.zeros(6)), -np.exp(LOGP), rtol=1e-5
  )
  np.testing.assert_allclose(
    surrogates.policy_shift(logp, old, adv, jnp.ones(6))[1:], -np.exp(LOGP - OTHER)[1:], rtol=1e-5
  )


def test_policy_shift_without_old_log_probabilities_takes_the_policys_own():
  logp, adv = jnp.asarray(LOGP, jnp.float32), jnp.asarray(ADVANTAGES, jnp.float32)
  accuracy = jnp.asarray(ACCURACY, jnp.float32)

  def loss(old):
    return jax.value_and_grad(lambda x: surrogates.policy_shift(x, old, adv, accuracy).sum())(logp)

  jax.tree.map(np.testing.assert_array_equal, loss(None), loss(logp))
  assert np.abs(loss(None)[1]).max() > 0
