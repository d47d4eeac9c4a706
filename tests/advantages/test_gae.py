import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import assert_close, both_precisions, exact, random_mask, run

from rljax import advantages

RNG = np.random.default_rng(0)
SHAPE = (2, 3, 9)
REWARDS = exact(RNG.normal(size=SHAPE))
VALUES = exact(RNG.normal(size=SHAPE))
MASK = random_mask(RNG, SHAPE)
SETTINGS = [(1.0, 1.0), (1.0, 0.95), (0.9, 0.7), (0.9, 0.0), (0.0, 0.5)]


def slow_gae(rewards, values, mask, gamma, lam):
  """Backwards over all tokens; a masked one hands on what it was given."""
  advantages, returns = np.zeros_like(rewards), np.zeros_like(rewards)
  for i in np.ndindex(rewards.shape[:-1]):
    next_value = running = 0.0
    for t in reversed(range(rewards.shape[-1])):
      if mask[i][t]:
        delta = rewards[i][t] + gamma * next_value - values[i][t]
        running = delta + gamma * lam * running
        next_value = values[i][t]
        advantages[i][t], returns[i][t] = running, running + values[i][t]
  return advantages, returns


def both(which, gamma, lam):
  return lambda r, v, m: advantages.gae(r, v, m, gamma=gamma, lam=lam)[which]


@both_precisions
@pytest.mark.parametrize(('gamma', 'lam'), SETTINGS)
def test_advantages_and_returns_equal_a_loop(dtype, tolerance, gamma, lam):
  expected = slow_gae(REWARDS, VALUES, MASK, gamma, lam)
  for which in (0, 1):
    found = run(both(which, gamma, lam), dtype, REWARDS, VALUES, MASK)
    assert_close(found, expected[which], tolerance, each=False)


@pytest.mark.parametrize(('gamma', 'lam'), SETTINGS)
def test_an_advantage_is_the_discounted_sum_of_the_errors_that_follow(gamma, lam):
  found = run(both(0, gamma, lam), 'float64', REWARDS, VALUES, MASK)
  for i in np.ndindex(SHAPE[:-1]):
    places = np.flatnonzero(MASK[i])
    values = [*VALUES[i][places], 0.0]
    errors = [REWARDS[i][t] + gamma * values[n + 1] - values[n] for n, t in enumerate(places)]
    for n, t in enumerate(places):
      total = sum((gamma * lam) ** k * error for k, error in enumerate(errors[n:]))
      assert found[i][t] == pytest.approx(total, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize('gamma', [1.0, 0.8])
def test_lam_one_compares_the_reward_to_go_with_the_value(gamma):
  found, returns = (
    run(both(which, gamma, 1.0), 'float64', REWARDS, VALUES, MASK) for which in (0, 1)
  )
  to_go = run(lambda r, m: advantages.reward_to_go(r, m, gamma=gamma), 'float64', REWARDS, MASK)
  np.testing.assert_allclose(found, np.where(MASK > 0, to_go - VALUES, 0), atol=1e-12)
  np.testing.assert_allclose(returns, to_go, atol=1e-12)


def test_both_default_to_one():
  defaults = run(lambda r, v, m: advantages.gae(r, v, m)[0], 'float64', REWARDS, VALUES, MASK)
  np.testing.assert_array_equal(defaults, run(both(0, 1.0, 1.0), 'float64', REWARDS, VALUES, MASK))


def test_a_tool_call_carries_value_and_advantage_through():
  """With a hole of two between the tokens; what stands in it is 50 everywhere."""
  rewards, values = jnp.array([[0.0, 50.0, 50.0, 8.0]]), jnp.array([[1.0, 50.0, 50.0, 2.0]])
  mask = jnp.array([[1.0, 0.0, 0.0, 1.0]])
  found, returns = advantages.gae(rewards, values, mask, gamma=0.5, lam=0.5)
  # Last: 8 - 2. First: 0 + 2 / 2 - 1, and a quarter of the last.
  np.testing.assert_array_equal(found, [[1.5, 0.0, 0.0, 6.0]])
  np.testing.assert_array_equal(returns, [[2.5, 0.0, 0.0, 8.0]])


def test_right_values_leave_no_advantage():
  mask = jnp.asarray(MASK, jnp.float32)
  rewards = jnp.asarray(REWARDS, jnp.float32)
  values = advantages.reward_to_go(rewards, mask, gamma=0.9)
  for lam in (0.0, 0.5, 1.0):
    found, returns = advantages.gae(rewards, values, mask, gamma=0.9, lam=lam)
    np.testing.assert_allclose(found, 0.0, atol=2e-6)
    np.testing.assert_allclose(returns, values, atol=2e-6)


@pytest.mark.parametrize('garbage', [np.nan, np.inf, 1e38])
def test_masked_entries_do_not_leak(garbage):
  mask = jnp.asarray(MASK, jnp.float32)
  rewards, values = (jnp.where(mask > 0, jnp.float32(x), 0.0) for x in (REWARDS, VALUES))

  def total(rewards, values):
    found, returns = advantages.gae(rewards, values, mask, gamma=0.9, lam=0.8)
    return jnp.sum(found**2 + 0.5 * returns), (found, returns)

  spoilt = [jnp.where(mask > 0, x, garbage) for x in (rewards, values)]
  tried = jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))
  clean, dirty = tried(rewards, values), tried(*spoilt)
  jax.tree.map(np.testing.assert_array_equal, dirty, clean)
  assert all((np.asarray(x)[MASK == 0] == 0).all() for x in jax.tree.leaves(dirty))
  assert np.abs(clean[0][1]).max() > 0


def test_shapes_must_agree():
  with pytest.raises(AssertionError):
    advantages.gae(jnp.ones((2, 3)), jnp.ones((2, 4)), jnp.ones((2, 3)))


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.integers(1, 4), st.integers(0, 2**31))
def test_padding_on_either_side_does_not_matter(padding, seed):
  rng = np.random.default_rng(seed)
  arrays = rng.normal(size=(4, 5)), rng.normal(size=(4, 5)), random_mask(rng, (4, 5))
  plain = run(both(0, 0.9, 0.7), 'float64', *arrays)
  wide = [np.pad(a, ((0, 0), (padding, padding))) for a in arrays]
  padded = run(both(0, 0.9, 0.7), 'float64', *wide)[:, padding:-padding]
  np.testing.assert_allclose(padded, plain, rtol=1e-10, atol=1e-12)
