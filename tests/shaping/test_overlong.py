import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import assert_close, both_precisions, exact, run

from rljax import shaping

RNG = np.random.default_rng(0)
REWARDS = exact(RNG.normal(size=(5, 8)))
LENGTHS = RNG.integers(0, 30, (5, 8)).astype(np.float64)
LENGTHS[0, :6] = [0, 15, 16, 20, 21, 1000]


def slow_penalty(n, limit, buffer):
  if n <= limit - buffer:
    return 0.0
  if n <= limit:
    return ((limit - buffer) - n) / buffer
  return -1.0


@both_precisions
@pytest.mark.parametrize(('limit', 'buffer'), [(20, 5), (20, 20), (20, 1), (20, 0), (7, 3)])
def test_soft_overlong_equals_the_piecewise_formula(dtype, tolerance, limit, buffer):
  penalty = np.vectorize(lambda n: slow_penalty(n, limit, buffer))(LENGTHS)
  assert set(penalty.ravel()) >= {0.0, -1.0}

  def fn(rewards, lengths):
    return shaping.soft_overlong(rewards, lengths, limit=limit, buffer=buffer)

  assert_close(run(fn, dtype, REWARDS, LENGTHS), REWARDS + penalty, tolerance, each=False)


def test_integer_lengths_and_rewards_do_not_truncate_the_penalty():
  result = shaping.soft_overlong(jnp.array([1]), jnp.array([8]), limit=10, buffer=4)
  np.testing.assert_array_equal(result, [0.5])


@pytest.mark.parametrize('buffer', [-1, 11])
def test_a_buffer_outside_of_the_limit_is_refused(buffer):
  with pytest.raises(ValueError, match=r'\[0, 10\] tokens'):
    shaping.soft_overlong(jnp.ones(2), jnp.ones(2), limit=10, buffer=buffer)


def test_lengths_must_belong_to_the_rewards():
  with pytest.raises(AssertionError):
    shaping.soft_overlong(jnp.ones((2, 3)), jnp.ones(3), limit=10, buffer=4)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 100), min_size=6, max_size=6), st.sampled_from([0, 1, 16, 64]))
def test_the_penalty_has_a_floor_and_never_falls_with_fewer_tokens(lengths, buffer):
  lengths = np.sort(np.array(lengths, np.float64))
  penalty = run(
    lambda r, n: shaping.soft_overlong(r, n, limit=64, buffer=buffer),
    'float32',
    np.zeros(6),
    lengths,
  )
  assert np.all((penalty >= -1) & (penalty <= 0))
  assert np.all(np.diff(penalty) <= 0)
