"""Warps against loops over sorted words, with ties, -inf and words that are already filtered."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax import sampling

INF = float('inf')
LOGITS = np.float32(
  [
    [2.0, 1.0, 0.5, 0.0, -1.0, -3.0],
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0],  # all equal
    [0.0, 3.0, 3.0, 3.0, -1.0, 0.0],  # ties at the cut
    [-INF, 2.0, -INF, 1.0, 0.0, -INF],  # filtered before
    [-INF, -INF, -INF, -INF, 4.0, -INF],
    [300.0, -300.0, 0.0, 299.0, 300.0, -INF],
    [-0.7, 1.3, 0.2, -2.1, 1.2, 0.9],
  ]
)


def probabilities(row):
  highest = max(row)
  exps = [math.exp(x - highest) for x in np.float64(row)]
  return [e / sum(exps) for e in exps]


def by_size(row):
  """Words from the likeliest, equals in order of index."""
  return sorted(range(len(row)), key=lambda i: (-row[i], i))


def slow_top_k(row, k):
  return set(by_size(row)[:k])


def slow_top_p(row, p):
  probs, kept, mass = probabilities(row), set(), 0.0
  for i in by_size(row):
    if mass < p:
      kept.add(i)
    mass += probs[i]
  return kept


def slow_min_p(row, p):
  probs = probabilities(row)
  return {i for i, prob in enumerate(probs) if prob >= p * max(probs)}


def assert_keeps(warped, logits, kept):
  """Kept words have their old logit, the others none; what had none before has none now."""
  for row, before, words in zip(np.asarray(warped), logits, kept, strict=True):
    expected = [x if i in words else -INF for i, x in enumerate(before)]
    np.testing.assert_array_equal(row, expected)
    assert np.isfinite(row).any()


@pytest.mark.parametrize('k', [1, 2, 3, 5, 6, 50])
def test_top_k_keeps_the_k_largest(k):
  assert_keeps(sampling.top_k(k)(LOGITS), LOGITS, [slow_top_k(row, k) for row in LOGITS])


@pytest.mark.parametrize('p', [1e-6, 0.3, 0.55, 0.7, 0.95, 1.0])
def test_top_p_keeps_the_nucleus_with_the_word_that_crosses(p):
  expected = [slow_top_p(row, p) if p < 1 else set(range(6)) for row in LOGITS]
  assert_keeps(sampling.top_p(p)(LOGITS), LOGITS, expected)


def test_top_p_of_one_keeps_words_that_float32_sums_lose():
  logits = jnp.array([[20.0, 20.0, 0.0, -5.0]])
  np.testing.assert_array_equal(sampling.top_p(1.0)(logits), logits)


@pytest.mark.parametrize('p', [0.0, 0.2, 0.34, 0.9, 1.0])
def test_min_p_keeps_words_near_the_likeliest(p):
  assert_keeps(sampling.min_p(p)(LOGITS), LOGITS, [slow_min_p(row, p) for row in LOGITS])


def test_greedy_keeps_the_first_of_the_largest():
  warped = np.asarray(sampling.greedy(LOGITS))
  best = [by_size(row)[0] for row in LOGITS]
  expected = [[0.0 if i == b else -INF for i in range(6)] for b in best]
  np.testing.assert_array_equal(warped, expected)
  np.testing.assert_allclose(jax.nn.softmax(warped), np.isfinite(expected), rtol=0, atol=0)


def test_temperature_divides():
  np.testing.assert_allclose(sampling.temperature(0.5)(LOGITS), LOGITS * 2)
  np.testing.assert_array_equal(sampling.temperature(1.0)(LOGITS), LOGITS)


def test_chain_applies_from_left_to_right_and_the_order_matters():
  logits = np.float32([[2.0, 1.5, 1.0, 0.5, 0.0]])
  hot, nucleus = sampling.temperature(5.0), sampling.top_p(0.6)
  first_hot = sampling.chain(hot, nucleus)(logits)
  first_cut = sampling.chain(nucleus, hot)(logits)
  assert_keeps(first_hot * 5, logits, [slow_top_p(logits[0] / 5, 0.6)])
  assert_keeps(first_cut * 5, logits, [slow_top_p(logits[0], 0.6)])
  assert np.isfinite(first_hot).sum() > np.isfinite(first_cut).sum()
  np.testing.assert_array_equal(sampling.chain()(logits), logits)


def test_a_second_filter_sees_the_renormalised_result_of_the_first():
  logits = np.log(np.float32([[0.4, 0.3, 0.2, 0.1]]))
  both = sampling.chain(sampling.top_k(2), sampling.top_p(0.5))
  assert_keeps(both(logits), logits, [{0}])  # 0.4 / 0.7 already exceeds 0.5
  assert_keeps(sampling.top_p(0.5)(logits), logits, [{0, 1}])


def test_leading_axes_and_jit_change_nothing():
  warp = sampling.chain(sampling.temperature(0.7), sampling.top_k(4), sampling.top_p(0.8))
  flat = warp(LOGITS)
  np.testing.assert_array_equal(jax.jit(warp)(LOGITS[None])[0], flat)
  np.testing.assert_array_equal(warp(LOGITS[3]), flat[3])


@pytest.mark.parametrize(
  ('build', 'value', 'message'),
  [
    (sampling.temperature, 0.0, 'Use greedy'),
    (sampling.temperature, -1.0, 'temperature is -1.0'),
    (sampling.top_k, 0, 'top_k is 0'),
    (sampling.top_p, 0.0, 'top_p is 0.0'),
    (sampling.top_p, 1.1, 'top_p is 1.1'),
    (sampling.min_p, -0.1, 'min_p is -0.1'),
    (sampling.min_p, 1.5, 'min_p is 1.5'),
  ],
)
def test_values_out_of_range_are_refused(build, value, message):
  with pytest.raises(ValueError, match=message):
    build(value)
