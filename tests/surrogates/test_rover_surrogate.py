"""ROVER's target and loss against loops over tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import assert_close, both_precisions, exact, random_mask, run

from rljax import surrogates

RNG = np.random.default_rng(0)
SHAPE = (5, 6)
LOGP = exact(-RNG.exponential(1, SHAPE))
OLD = exact(LOGP - RNG.normal(0, 0.5, SHAPE))
OLD[0] = exact(LOGP[0] - [-25, 24, -20.5, 19, -3, 0])
MEAN, OLD_MEAN = exact(RNG.normal(-9, 1, SHAPE)), exact(RNG.normal(-9, 1, SHAPE))
MASK = random_mask(RNG, SHAPE)
REWARDS = exact(RNG.normal(size=(5, 1)))
RHO, ETA = 0.7, 1.3


def slow_target(rho=RHO, eta=ETA):
  out = np.zeros(SHAPE)
  for i, t in np.ndindex(SHAPE):
    follows = t + 1 < SHAPE[1] and MASK[i, t + 1] > 0
    value = rho * (MEAN[i, t + 1] - OLD_MEAN[i, t + 1]) if follows else 0.0
    out[i, t] = REWARDS[i, 0] + eta * value
  return out


def slow_loss(target, rho=RHO, clip=None):
  """Loss and gradient in logp."""
  loss, slope = np.zeros(SHAPE), np.zeros(SHAPE)
  for i, t in np.ndindex(SHAPE):
    q, moves = rho * (LOGP[i, t] - OLD[i, t]), 1.0
    if clip is not None and target[i, t] > q > np.log(1 + clip):
      q, moves = np.log(1 + clip), 0.0
    elif clip is not None and target[i, t] < q < np.log(1 - clip):
      q, moves = np.log(1 - clip), 0.0
    loss[i, t] = (q - target[i, t]) ** 2
    slope[i, t] = 2 * (q - target[i, t]) * rho * moves
  return loss, slope


@both_precisions
def test_the_target_equals_a_loop(dtype, tolerance):
  found = run(
    lambda *x: surrogates.rover_target(*x, rho=RHO, eta=ETA), dtype, REWARDS, MEAN, OLD_MEAN, MASK
  )
  assert_close(found, slow_target(), tolerance, each=False)
  spoilt = np.where(MASK > 0, MEAN, np.nan)
  again = run(
    lambda *x: surrogates.rover_target(*x, rho=RHO, eta=ETA), dtype, REWARDS, spoilt, OLD_MEAN, MASK
  )
  np.testing.assert_array_equal(found, again)


@both_precisions
@pytest.mark.parametrize('clip', [None, 0.2])
def test_loss_and_gradient_equal_a_loop(dtype, tolerance, clip):
  target = slow_target()
  expected, slope = slow_loss(target, clip=clip)

  def loss(logp):
    arguments = logp, jnp.asarray(OLD, logp.dtype), jnp.asarray(target, logp.dtype)
    if clip is None:
      return surrogates.rover(*arguments, rho=RHO)
    return surrogates.rover_clipped(*arguments, rho=RHO, clip=clip)

  assert_close(run(loss, dtype, LOGP), expected, tolerance, each=False)
  assert_close(run(jax.grad(lambda x: loss(x).sum()), dtype, LOGP), slope, tolerance, each=False)
  if clip is not None:
    assert 3 < (slope == 0).sum() < slope.size


def test_on_policy_it_is_a_policy_gradient_with_twice_the_centred_reward():
  rewards, mask = jnp.float32(REWARDS), jnp.ones(SHAPE)
  target = surrogates.rover_target(rewards, jnp.float32(MEAN), None, mask, rho=RHO)
  np.testing.assert_array_equal(target, jnp.broadcast_to(rewards, SHAPE))
  slope = jax.grad(lambda x: surrogates.rover(x, None, target, rho=RHO).sum())(jnp.float32(LOGP))
  np.testing.assert_allclose(slope, -2 * RHO * target, rtol=1e-6)


def test_equal_rewards_cost_nothing_on_policy():
  zero = jnp.zeros(SHAPE)
  np.testing.assert_array_equal(surrogates.rover(jnp.float32(LOGP), None, zero), 0.0)


@pytest.mark.parametrize('clip', [0.0, 1.0, -0.2])
def test_a_clip_outside_of_zero_to_one_is_refused(clip):
  x = jnp.zeros((1, 1))
  with pytest.raises(ValueError, match='must lie in'):
    surrogates.rover_clipped(x, x, x, clip=clip)
