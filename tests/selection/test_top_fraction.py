import functools
import math

import jax.numpy as jnp
import numpy as np
import pytest
from parity import assert_close, both_precisions, exact, random_mask, run

from rljax import selection

RNG = np.random.default_rng(2)
VALUES = exact(RNG.integers(0, 5, (12, 7)) / 4)  # with ties
WHERE = random_mask(RNG, VALUES.shape)


def slow(values, where, share):
  out = np.zeros(values.shape)
  for p in range(len(values)):
    real = [i for i in range(values.shape[1]) if where[p, i]]
    count = max(1, math.ceil(round(share * len(real), 9)))
    for i in sorted(real, key=lambda i: -values[p, i])[:count]:  # stable
      out[p, i] = 1.0
  return out


@both_precisions
@pytest.mark.parametrize('share', [0.2, 0.0, 0.5, 1.0])
def test_the_top_fraction_equals_a_loop(dtype, tolerance, share):
  fn = functools.partial(selection.top_fraction, share=share)
  spoilt = np.where(WHERE > 0, VALUES, np.nan)
  assert_close(run(fn, dtype, spoilt, WHERE), slow(VALUES, WHERE, share), tolerance)
  expected = slow(VALUES, np.ones_like(WHERE), share)
  assert_close(run(fn, dtype, VALUES), expected, tolerance)
  assert expected.sum() > 0


def test_the_share_is_rounded_up_but_for_the_rounding_of_floats():
  n = np.arange(1, 60)
  real = np.float32(np.arange(60) < n[:, None])
  for tenths in range(11):
    chosen = selection.top_fraction(jnp.zeros(real.shape), real, share=tenths / 10)
    np.testing.assert_array_equal(chosen.sum(-1), np.maximum(1, -(-tenths * n // 10)))


def test_ties_go_to_the_first_and_nobody_is_chosen_among_nobody():
  np.testing.assert_array_equal(
    selection.top_fraction(jnp.array([0.5, 1.0, 1.0, 1.0]), share=0.5), [0, 1, 1, 0]
  )
  nobody = selection.top_fraction(jnp.ones((2, 3)), jnp.zeros((2, 3)), share=1.0)
  np.testing.assert_array_equal(nobody, 0.0)
