import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import assert_close, both_precisions, run

from rljax import evaluation


def answers(n):
  """Every number of right answers out of n, one prompt each."""
  return (np.arange(n)[None, :] < np.arange(n + 1)[:, None]).astype(np.float64)


@both_precisions
@pytest.mark.parametrize(
  ('n', 'k'), [(1, 1), (6, 1), (6, 3), (6, 6), (64, 16), (512, 1), (512, 200)]
)
def test_pass_at_k_equals_the_ratio_of_binomials(dtype, tolerance, n, k):
  expected = [1 - math.comb(n - c, k) / math.comb(n, k) for c in range(n + 1)]
  actual = run(lambda c: evaluation.pass_at_k(c, k), dtype, answers(n))
  assert_close(actual, np.array(expected), tolerance)


@pytest.mark.parametrize('k', range(1, 7))
def test_pass_at_k_is_the_share_of_subsets_with_a_right_answer(k):
  correct = np.random.default_rng(0).integers(0, 2, (2, 5, 6))
  subsets = list(itertools.combinations(range(6), k))
  expected = np.mean([correct[..., list(s)].max(-1) for s in subsets], axis=0)
  np.testing.assert_allclose(evaluation.pass_at_k(jnp.asarray(correct), k), expected, atol=1e-6)


def test_certain_outcomes_are_exact():
  for k in (1, 3, 8):
    result = evaluation.pass_at_k(jnp.asarray(answers(8)), k)
    assert result[0] == 0.0
    assert not np.signbit(result[0])
    np.testing.assert_array_equal(result[8 - k + 1 :], 1.0)


@both_precisions
def test_avg_at_k_is_the_share_of_right_answers_and_pass_at_one(dtype, tolerance):
  share = run(evaluation.avg_at_k, dtype, answers(10))
  assert_close(share, np.arange(11) / 10, tolerance)
  assert_close(run(lambda c: evaluation.pass_at_k(c, 1), dtype, answers(10)), share, tolerance)


@pytest.mark.parametrize('k', [0, -1, 5])
def test_k_outside_of_the_answers_is_refused(k):
  with pytest.raises(ValueError, match='n = 4 answers'):
    evaluation.pass_at_k(jnp.ones((2, 4)), k)


def test_flags_and_vmap():
  correct = jnp.asarray(answers(5)) > 0
  expected = evaluation.pass_at_k(correct.astype(jnp.float32), 2)
  np.testing.assert_array_equal(evaluation.pass_at_k(correct, 2), expected)
  mapped = jax.vmap(lambda c: evaluation.pass_at_k(c, 2))(correct)
  np.testing.assert_allclose(mapped, expected, rtol=1e-6)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 1), min_size=7, max_size=7), st.permutations(range(7)))
def test_more_tries_never_hurt_and_order_does_not_matter(correct, order):
  rows = np.array([correct, np.array(correct)[order]], np.float64)
  result = run(every_k_of_seven, 'float64', rows)
  assert np.all(np.diff(result[:, 0]) >= -1e-12)
  np.testing.assert_array_equal(result[:, 0], result[:, 1])


def every_k_of_seven(correct):
  return jnp.stack([evaluation.pass_at_k(correct, k) for k in range(1, 8)])
