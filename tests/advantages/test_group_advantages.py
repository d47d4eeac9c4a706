import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import assert_close, both_precisions, exact, random_mask, run

from rljax import advantages

RNG = np.random.default_rng(0)
REWARDS = exact(RNG.normal(size=(6, 5)))
REWARDS[3] = exact(0.1)
WHERE = random_mask(RNG, REWARDS.shape)
ESTIMATORS = [advantages.grpo, advantages.center, advantages.rloo]


def slow_center(r):
  return [x - sum(r) / len(r) for x in r]


def slow_grpo(r, eps=1e-6, ddof=1):
  c = slow_center(r)
  return [x / (np.sqrt(sum(y * y for y in c) / (len(r) - ddof)) + eps) for x in c]


def slow_rloo(r):
  return [x - sum(r[:i] + r[i + 1 :]) / (len(r) - 1) for i, x in enumerate(r)]


def slow(fn, rewards, where):
  out = np.zeros_like(rewards)
  for p in range(len(rewards)):
    members = [g for g in range(rewards.shape[1]) if where[p, g]]
    values = [rewards[p, g] for g in members]
    if len(set(values)) > 1:
      for g, a in zip(members, fn(values), strict=True):
        out[p, g] = a
  return out


@both_precisions
@pytest.mark.parametrize(
  ('fn', 'reference'),
  zip(ESTIMATORS, [slow_grpo, slow_center, slow_rloo], strict=True),
)
def test_estimators_equal_a_loop(dtype, tolerance, fn, reference):
  expected = slow(reference, REWARDS, WHERE)
  assert np.abs(expected).max() > 0
  assert_close(run(fn, dtype, REWARDS, WHERE), expected, tolerance, each=False)
  full = slow(reference, REWARDS, np.ones_like(WHERE))
  assert_close(run(fn, dtype, REWARDS), full, tolerance, each=False)
  deep = run(fn, dtype, REWARDS.reshape(2, 3, 5), WHERE.reshape(2, 3, 5))
  assert_close(deep, expected.reshape(2, 3, 5), tolerance, each=False)


@both_precisions
@pytest.mark.parametrize('ddof', [0, 1])
@pytest.mark.parametrize('eps', [0.0, 1e-4])
def test_grpo_takes_ddof_and_eps(dtype, tolerance, ddof, eps):
  expected = slow(lambda r: slow_grpo(r, eps, ddof), REWARDS, WHERE)
  actual = run(lambda r, w: advantages.grpo(r, w, eps=eps, ddof=ddof), dtype, REWARDS, WHERE)
  assert_close(actual, expected, tolerance, each=False)


def test_grpo_by_hand():
  rewards = jnp.array([[1.0, 0.0, 0.0, 0.0]])  # mean 1/4, unbiased deviation 1/2, biased sqrt(3)/4
  np.testing.assert_allclose(advantages.grpo(rewards), [[1.5, -0.5, -0.5, -0.5]], rtol=1e-5)
  np.testing.assert_allclose(advantages.grpo(rewards, ddof=0)[0, 0], np.sqrt(3), rtol=1e-5)


@pytest.mark.parametrize('right', range(9))
def test_grpo_magnitude_of_binary_rewards(right):
  n, p = 8, right / 8
  rewards = jnp.asarray(np.arange(n) < right, jnp.float32)[None, :]
  expected = 2 * np.sqrt(n * (n - 1) * p * (1 - p))
  np.testing.assert_allclose(jnp.abs(advantages.grpo(rewards)).sum(), expected, rtol=1e-5)


@pytest.mark.parametrize('fn', ESTIMATORS)
@pytest.mark.parametrize('value', [0.1, 1 / 3, 0.7, -1e-3, 1e6, 0.0])
@pytest.mark.parametrize('size', [1, 2, 3, 7, 8, 16])
def test_equal_rewards_and_groups_of_one_give_exactly_zero(fn, value, size):
  np.testing.assert_array_equal(fn(jnp.full((2, size), value)), 0.0)


@pytest.mark.parametrize('fn', ESTIMATORS)
@pytest.mark.parametrize('eps', [0.0, 1e-6])
def test_gradients_are_finite_on_every_mask_of_three(fn, eps):
  every = (np.arange(8)[:, None] >> np.arange(3)) & 1
  estimate = (lambda r, w: fn(r, w, eps=eps)) if fn is advantages.grpo else fn
  for row in ([0.1, 0.1, 0.1], [0.0, 1.0, 1.0], [1 / 3, 0.2, 0.1]):
    rewards = jnp.tile(jnp.array([row]), (8, 1))
    where = jnp.asarray(every, jnp.float32)
    assert np.all(np.isfinite(estimate(rewards, where)))
    gradient = jax.grad(lambda r, where=where: (estimate(r, where)[:, 0] ** 2).sum())(rewards)
    assert np.all(np.isfinite(gradient))
    np.testing.assert_array_equal(gradient[every == 0], 0.0)


@pytest.mark.parametrize('fn', ESTIMATORS)
def test_members_that_are_not_real_are_not_read(fn):
  where = jnp.asarray(WHERE, jnp.float32)
  rewards = jnp.asarray(REWARDS, jnp.float32)
  for garbage in (np.nan, np.inf, 1e30):
    dirty = jnp.where(where > 0, rewards, garbage)
    np.testing.assert_array_equal(fn(dirty, where), fn(rewards, where))
    np.testing.assert_array_equal(fn(dirty, where)[where == 0], 0.0)


def test_rloo_is_centred_reward_times_g_over_g_minus_one():
  rewards = jnp.asarray(REWARDS, jnp.float32)
  expected = advantages.center(rewards) * 5 / 4
  np.testing.assert_allclose(advantages.rloo(rewards), expected, rtol=1e-4, atol=1e-6)


def estimate_all(rewards):
  return jnp.stack([advantages.grpo(rewards, eps=0.0), *(f(rewards) for f in ESTIMATORS[1:])])


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
  st.lists(st.integers(-8, 8), min_size=4, max_size=4),
  st.floats(0.125, 8.0),
  st.floats(-4.0, 4.0),
  st.permutations(range(4)),
)
def test_affine_rewards_and_permutations(values, scale, shift, order):
  rewards = np.array([values], np.float64)
  plain = run(estimate_all, 'float64', rewards)
  if len(set(values)) > 1:  # a rounded shift may part equal rewards, never unequal ones
    moved = run(estimate_all, 'float64', scale * rewards + shift)
    np.testing.assert_allclose(moved[0], plain[0], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(moved[1:], scale * plain[1:], rtol=1e-9, atol=1e-9)
  shuffled = run(estimate_all, 'float64', rewards[:, order])
  np.testing.assert_allclose(shuffled, plain[:, :, order], rtol=1e-12, atol=1e-12)
  np.testing.assert_allclose(plain.sum(-1), 0.0, atol=1e-12)
