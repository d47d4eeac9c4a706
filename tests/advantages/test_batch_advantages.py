import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import assert_close, both_precisions, exact, random_mask, run

from rljax import advantages, stats

RNG = np.random.default_rng(0)
SHAPE = (2, 3, 9)
REWARDS = exact(RNG.normal(size=SHAPE))
MASK = random_mask(RNG, SHAPE)


def slow_reward_to_go(rewards, mask, gamma):
  out = np.zeros_like(rewards)
  for i in np.ndindex(rewards.shape[:-1]):
    running = 0.0
    for t in reversed(range(rewards.shape[-1])):
      if mask[i][t]:
        running = rewards[i][t] + gamma * running
        out[i][t] = running
  return out


def slow_whiten(x, mask):
  values = [v for v, m in zip(x.ravel(), mask.ravel(), strict=True) if m]
  mean = sum(values) / len(values)
  variance = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
  return np.where(mask > 0, (x - mean) / np.sqrt(variance + 1e-8), 0.0)


@both_precisions
@pytest.mark.parametrize('gamma', [1.0, 0.9, 0.0])
def test_reward_to_go_equals_a_loop(dtype, tolerance, gamma):
  actual = run(lambda r, m: advantages.reward_to_go(r, m, gamma=gamma), dtype, REWARDS, MASK)
  expected = slow_reward_to_go(REWARDS, MASK, gamma)
  assert_close(actual, expected, tolerance, each=False)


@both_precisions
@pytest.mark.parametrize('gamma', [1.0, 0.9])
def test_reinforce_pp_equals_a_loop(dtype, tolerance, gamma):
  actual = run(lambda r, m: advantages.reinforce_pp(r, m, gamma=gamma), dtype, REWARDS, MASK)
  expected = slow_whiten(slow_reward_to_go(REWARDS, MASK, gamma), MASK)
  assert_close(actual, expected, tolerance, each=False)


@both_precisions
def test_outcome_to_tokens_equals_a_loop(dtype, tolerance):
  rewards = REWARDS[..., 0]
  expected = np.zeros(SHAPE)
  for i in np.ndindex(SHAPE[:-1]):
    real = [t for t in range(SHAPE[-1]) if MASK[i][t]]
    if real:
      expected[i][real[-1]] = rewards[i]
  assert_close(run(advantages.outcome_to_tokens, dtype, rewards, MASK), expected, tolerance)


def test_an_outcome_reaches_every_token_undiscounted():
  mask = jnp.array([[1.0, 0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
  tokens = advantages.outcome_to_tokens(jnp.array([2.0, 3.0]), mask)
  np.testing.assert_array_equal(advantages.reward_to_go(tokens, mask), 2 * mask)


def test_a_tool_call_neither_discounts_nor_resets():
  mask = jnp.array([[1.0, 0.0, 0.0, 1.0, 1.0]])
  rewards = jnp.array([[0.0, 50.0, 50.0, 0.0, 8.0]])
  result = advantages.reward_to_go(rewards, mask, gamma=0.5)
  np.testing.assert_array_equal(result, [[2.0, 0.0, 0.0, 4.0, 8.0]])


@pytest.mark.parametrize('value', [0.1, 1 / 3])
def test_equal_outcomes_give_exactly_zero(value):
  mask = jnp.asarray(MASK, jnp.float32)
  tokens = advantages.outcome_to_tokens(jnp.full(SHAPE[:-1], value), mask)
  np.testing.assert_array_equal(advantages.reinforce_pp(tokens, mask), 0.0)


def test_one_token_or_none_gives_zero():
  rewards = jnp.ones((2, 3))
  for mask in (jnp.zeros((2, 3)), jnp.zeros((2, 3)).at[1, 1].set(1.0)):
    np.testing.assert_array_equal(advantages.reinforce_pp(rewards, mask), 0.0)
    gradient = jax.grad(lambda r, m=mask: advantages.reinforce_pp(r, m).sum())(rewards)
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize('garbage', [np.nan, np.inf, 1e38])
def test_masked_rewards_do_not_leak(garbage):
  mask = jnp.asarray(MASK, jnp.float32)
  clean = jnp.where(mask > 0, jnp.asarray(REWARDS, jnp.float32), 0.0)
  dirty = jnp.where(mask > 0, clean, garbage)
  for fn in (advantages.reward_to_go, advantages.reinforce_pp):
    np.testing.assert_array_equal(fn(dirty, mask), fn(clean, mask))
    np.testing.assert_array_equal(fn(dirty, mask)[mask == 0], 0.0)


def test_an_unused_reward_of_an_empty_completion_is_not_read():
  tokens = advantages.outcome_to_tokens(jnp.array([np.nan]), jnp.zeros((1, 3)))
  np.testing.assert_array_equal(tokens, 0.0)


def test_reward_to_go_has_the_discounts_as_its_gradient():
  mask = jnp.array([[1.0, 0.0, 1.0, 1.0]])
  gradient = jax.grad(lambda r: advantages.reward_to_go(r, mask, gamma=0.5)[0, 0])(
    jnp.zeros((1, 4))
  )
  np.testing.assert_array_equal(gradient, [[1.0, 0.0, 0.5, 0.25]])


def test_whiten_is_that_of_stats():
  assert advantages.whiten is stats.whiten


@pytest.mark.parametrize('rewards', [jnp.ones((2, 1)), jnp.ones(3)])
def test_outcomes_need_one_reward_per_completion(rewards):
  with pytest.raises(AssertionError):
    advantages.outcome_to_tokens(rewards, jnp.ones((2, 4)))


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.integers(1, 4), st.integers(0, 2**31))
def test_padding_and_order_of_rows_do_not_matter(padding, seed):
  rng = np.random.default_rng(seed)
  rewards, mask = rng.normal(size=(4, 5)), random_mask(rng, (4, 5))
  plain = run(advantages.reinforce_pp, 'float64', rewards, mask)
  wide = [np.pad(a, ((0, 0), (0, padding))) for a in (rewards, mask)]
  padded = run(advantages.reinforce_pp, 'float64', *wide)[:, :5]
  np.testing.assert_allclose(padded, plain, rtol=1e-10, atol=1e-12)
  order = rng.permutation(4)
  shuffled = run(advantages.reinforce_pp, 'float64', rewards[order], mask[order])
  np.testing.assert_allclose(shuffled, plain[order], rtol=1e-10, atol=1e-12)
