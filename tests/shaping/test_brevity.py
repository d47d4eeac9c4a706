"""Length rewards that compare a completion with its group, against loops and at their edges."""

import functools
import math

import jax
import jax.numpy as jnp
import length_tables
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import assert_close, both_precisions, run

from rljax import advantages, shaping


def slow_relative_length(correct, lengths, alpha=0.1):
  pairs = list(zip(correct, lengths, strict=True))
  mine = [n for c, n in pairs if c > 0]
  if not mine:
    return [0.0] * len(correct)
  mean = sum(mine) / len(mine)
  deviation = math.sqrt(sum((n - mean) ** 2 for n in mine) / len(mine))
  share = [1 / (1 + math.exp(-(n - mean) / (deviation + 1e-7))) if c else 0 for c, n in pairs]
  return [c * (1 - alpha * s) for c, s in zip(correct, share, strict=True)]


def slow_kimi_length(correct, lengths):
  low, high = min(lengths), max(lengths)
  if low == high:
    return [0.0] * len(correct)
  lam = [0.5 - (n - low) / (high - low) for n in lengths]
  return [x if c > 0 else min(0.0, x) for c, x in zip(correct, lam, strict=True)]


def slow_shorter_better(correct, lengths, alpha=2.0, beta=0.001):
  right = [n for c, n in zip(correct, lengths, strict=True) if c > 0]
  target = min(right) if right else sum(lengths) / len(lengths)
  return [alpha * c - beta * abs(n - target) for c, n in zip(correct, lengths, strict=True)]


def slow_alp(correct, lengths, beta=1e-7):
  size = len(correct)
  rate = max(sum(correct) / size, 1 / size)
  return [c - beta * n * rate for c, n in zip(correct, lengths, strict=True)]


@both_precisions
@pytest.mark.parametrize(
  ('fn', 'slow'),
  [
    (shaping.relative_length, slow_relative_length),
    (
      functools.partial(shaping.relative_length, alpha=0.6),
      functools.partial(slow_relative_length, alpha=0.6),
    ),
    (shaping.kimi_length, slow_kimi_length),
    (shaping.shorter_better, slow_shorter_better),
    (
      functools.partial(shaping.shorter_better, alpha=1.0, beta=0.01),
      functools.partial(slow_shorter_better, alpha=1.0, beta=0.01),
    ),
    (shaping.alp, slow_alp),
    (functools.partial(shaping.alp, beta=1e-3), functools.partial(slow_alp, beta=1e-3)),
  ],
  ids=['relative', 'relative, alpha', 'kimi', 'shorter', 'shorter, arguments', 'alp', 'alp, beta'],
)
def test_length_rewards_equal_a_loop(dtype, tolerance, fn, slow):
  length_tables.check(dtype, tolerance, fn, slow)


def groups(correct, lengths):
  return jnp.asarray(np.float32([correct])), jnp.asarray(np.float32([lengths]))


@pytest.mark.parametrize('alpha', [0.1, 0.2, 0.6])
def test_one_right_answer_or_equally_long_ones_lose_half_of_alpha(alpha):
  fn = jax.jit(functools.partial(shaping.relative_length, alpha=alpha))
  half = np.float32(1 - alpha / 2)
  np.testing.assert_array_equal(fn(*groups([0, 1, 0], [9, 5, 1]))[0], [0, half, 0])
  np.testing.assert_array_equal(fn(*groups([1], [5]))[0], [half])
  # A sum of so many tokens is not exact in float32, and what is left must not be divided by eps.
  odd = groups([1] * 7, [9_999_999] * 7)
  np.testing.assert_array_equal(fn(*odd)[0], half)
  np.testing.assert_array_equal(fn(*groups([0, 0], [5, 7])), 0.0)


def test_relative_length_knows_only_right_answers_and_its_bounds_are_alphas():
  found = functools.partial(shaping.relative_length, alpha=0.5)(*groups([1, 1, 0], [10, 30, 5000]))[
    0
  ]
  np.testing.assert_allclose(found[:2], [1 - 0.5 / (1 + np.e), 1 - 0.5 / (1 + 1 / np.e)], rtol=1e-6)
  assert found[2] == 0


def test_kimi_length_is_zero_for_equal_lengths_and_counts_wrong_answers_among_the_extremes():
  np.testing.assert_array_equal(shaping.kimi_length(*groups([1, 0, 1], [8, 8, 8])), 0.0)
  np.testing.assert_array_equal(shaping.kimi_length(*groups([1], [8])), 0.0)
  found = shaping.kimi_length(*groups([0, 1, 1, 0], [0, 25, 100, 75]))[0]
  np.testing.assert_array_equal(found, [0.0, 0.25, -0.5, -0.25])


def test_shorter_better_pulls_a_wrong_group_to_its_mean_length_and_so_trains_it():
  found = shaping.shorter_better(*groups([0, 0, 0], [100, 200, 600]))
  np.testing.assert_allclose(found[0], [-0.2, -0.1, -0.3], rtol=1e-6)
  np.testing.assert_allclose(advantages.grpo(found)[0], [0, 1, -1], atol=2e-5)
  assert shaping.shorter_better(*groups([0, 1, 0], [50, 40, 9]))[0, 1] == 2.0


def test_alp_keeps_the_floor_of_one_right_answer_for_groups_of_wrong_ones():
  wrong = shaping.alp(*groups([0, 0, 0, 0], [100, 200, 300, 400]), beta=0.01)
  np.testing.assert_allclose(wrong[0], [-0.25, -0.5, -0.75, -1.0], rtol=1e-6)
  one = shaping.alp(*groups([1, 0, 0, 0], [100, 200, 300, 400]), beta=0.01)
  np.testing.assert_allclose(one[0], [0.75, -0.5, -0.75, -1.0], rtol=1e-6)
  right = shaping.alp(*groups([1, 1], [16_000, 8_000]))
  np.testing.assert_allclose(right[0], [1 - 0.0016, 1 - 0.0008], rtol=1e-6)


@pytest.mark.parametrize(
  'fn', [shaping.relative_length, shaping.kimi_length, shaping.shorter_better, shaping.alp]
)
def test_nobody_and_garbage_give_zero_and_integers_will_do(fn):
  where = jnp.array([[0, 0, 0], [1, 1, 0]])
  lengths = jnp.array([[1, 2, 3], [4, 8, 1]])
  found = jax.jit(fn)(jnp.array([[True, True, False], [True, False, True]]), lengths, where)
  np.testing.assert_array_equal(found[0], 0.0)
  assert found[1, 2] == 0 and (found[1, 0] != 0) and found.dtype == jnp.float32


FNS = [
  shaping.relative_length,
  shaping.kimi_length,
  shaping.shorter_better,
  functools.partial(shaping.alp, beta=1e-3),
]


@pytest.mark.parametrize('fn', FNS, ids=['relative', 'kimi', 'shorter', 'alp'])
@settings(max_examples=20, deadline=None, derandomize=True)
@given(
  correct=st.lists(st.sampled_from([0.0, 1.0]), min_size=6, max_size=6),
  lengths=st.lists(st.integers(1, 9000), min_size=6, max_size=6),
  order=st.permutations(range(6)),
)
def test_right_answers_earn_no_less_for_fewer_tokens_and_their_order_does_not_matter(
  fn, correct, lengths, order
):
  correct, lengths = np.array([correct]), np.array([lengths], np.float64)
  found = run(fn, 'float64', correct, lengths)[0]
  order = np.array(order)
  moved = run(fn, 'float64', correct[:, order], lengths[:, order])[0]
  assert_close(moved, found[order], 1e-12, each=False)
  right = np.flatnonzero(correct[0])
  by_length = right[np.argsort(lengths[0, right], kind='stable')]
  assert (np.diff(found[by_length]) <= 1e-12).all()
