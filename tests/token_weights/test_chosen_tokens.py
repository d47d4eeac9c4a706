"""Peaks of sequences and the best share of a batch against loops."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from parity import assert_close, both_precisions, exact, random_mask, run

from rljax import token_weights

RNG = np.random.default_rng(0)
SHAPE = (9, 11)
X = exact(RNG.exponential(1, SHAPE))
X[4], X[5, ::2] = 0.1, 0.7
MASK = random_mask(RNG, SHAPE)


def slow_peaks(level):
  out = np.zeros(SHAPE)
  for i in range(SHAPE[0]):
    row = sorted(X[i, t] for t in range(SHAPE[1]) if MASK[i, t])
    if not row:
      continue
    place = level * (len(row) - 1)
    low, high = row[math.floor(place)], row[math.ceil(place)]
    quantile = low + (place - math.floor(place)) * (high - low)
    for t in range(SHAPE[1]):
      out[i, t] = MASK[i, t] > 0 and X[i, t] > quantile
  return out


@both_precisions
@pytest.mark.parametrize('level', [0.8, 0.5, 0.0, 1.0])
def test_peaks_equal_a_loop(dtype, tolerance, level):
  expected = slow_peaks(level)
  assert expected.sum() > 0 or level == 1
  for x in (X, np.where(MASK > 0, X, np.nan)):
    found = run(lambda *a: token_weights.peaks(*a, level=level), dtype, x, MASK)
    assert_close(found, expected, tolerance)


def test_one_token_equal_tokens_and_none_have_no_peak():
  mask = jnp.array([[0.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
  np.testing.assert_array_equal(token_weights.peaks(jnp.full((3, 3), 0.1), mask), 0.0)


@both_precisions
@pytest.mark.parametrize('share', [0.2, 0.37, 1.0, 0.0])
def test_top_share_equals_a_loop(dtype, tolerance, share):
  places = [(-X[p], p) for p in np.ndindex(SHAPE) if MASK[p]]
  expected = np.zeros(SHAPE)
  for _, p in sorted(places)[: math.ceil(share * len(places))]:  # of equal ones the first places
    expected[p] = 1
  for x in (X, np.where(MASK > 0, X, np.nan)):
    found = run(lambda *a: token_weights.top_share(*a, share=share), dtype, x, MASK)
    assert_close(found, expected, tolerance)


@pytest.mark.parametrize(('share', 'wanted'), [(0.15, 15), (0.3, 30), (0.101, 11), (0.27, 27)])
def test_a_share_is_rounded_up_but_not_for_rounding(share, wanted):
  scores = jnp.float32(RNG.permutation(100)).reshape(4, 25)
  found = token_weights.top_share(scores, jnp.ones((4, 25)), share=share)
  np.testing.assert_array_equal(found, np.asarray(scores) >= 100 - wanted)
