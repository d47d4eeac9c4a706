"""HAPO's signal and what it steers against loops over tokens."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from parity import assert_close, both_precisions, exact, random_mask, run

from rljax import token_weights

RNG = np.random.default_rng(0)
SHAPE = (6, 7)
ENTROPY = exact(RNG.exponential(1, SHAPE))
ENTROPY[0, 0] = 0.0  # the floor
MASK = random_mask(RNG, SHAPE)


def slow_signal(entropy, mask, pivot, signed=True):
  x = {p: math.log(max(entropy[p], 1e-8)) for p in np.ndindex(SHAPE) if mask[p]}
  if not x:
    return np.zeros(SHAPE)
  q = sorted(x.values())[round(pivot * (len(x) - 1))]
  sd = math.sqrt(sum((v - q) ** 2 for v in x.values()) / len(x))
  h = {p: (v - q) / sd if sd else 0.0 for p, v in x.items()}
  out = np.zeros(SHAPE)
  for p, v in h.items():
    if v > 0:
      out[p] = v / max(h.values())
    elif v < 0:
      out[p] = v / (abs(min(h.values())) if signed else min(h.values()))
  return out


@both_precisions
@pytest.mark.parametrize('pivot', [0.8, 0.5, 0.0, 1.0])
@pytest.mark.parametrize('signed', [True, False])
def test_the_signal_equals_a_loop(dtype, tolerance, pivot, signed):
  statistics = (
    token_weights.entropy_statistics if signed else token_weights.unsigned_entropy_statistics
  )

  def signal(entropy, mask):
    return token_weights.entropy_signal(entropy, statistics(entropy, mask, pivot=pivot))

  for mask in (MASK, np.ones(SHAPE)):
    expected = slow_signal(ENTROPY, mask, pivot, signed)
    spoilt = np.where(mask > 0, ENTROPY, np.nan)
    found = run(signal, dtype, spoilt, mask)
    found = np.where(mask > 0, found, 0)
    assert_close(found, expected, tolerance, each=False)
    assert found.min() == (pytest.approx(-1) if signed and pivot > 0 else 0)
    assert found.max() == (pytest.approx(1) if pivot < 1 or not signed else 0)


@pytest.mark.parametrize('mask', [np.zeros(SHAPE), np.ones(SHAPE)])
def test_no_token_and_equal_entropies_give_signal_zero(mask):
  entropy = jnp.full(SHAPE, 0.7)
  found = token_weights.entropy_statistics(entropy, jnp.float32(mask))
  np.testing.assert_array_equal(token_weights.entropy_signal(entropy, found), 0.0)


@both_precisions
def test_the_temperature_follows_the_last_batch(dtype, tolerance):
  statistics = [-0.3, 0.8, 2.5, 4.0]
  entropy = exact([0.0, 0.2, 0.7408, 0.9, 2.0, 30.0])
  expected = []
  for x in entropy:
    h = (math.log(max(x, 1e-6)) + 0.3) / (0.8 + 1e-6)
    h /= 2.5 if h > 0 else 4.0
    expected.append(0.9 * (1 + 0.1 * max(-1, min(1, h))))

  def temperature(x):
    known = token_weights.EntropyStatistics(*(jnp.asarray(s, x.dtype) for s in statistics))
    return token_weights.adaptive_temperature(x, known, temperature=0.9, tau=0.1)

  assert_close(run(temperature, dtype, entropy), expected, tolerance)
  assert expected[0] == pytest.approx(0.81) and expected[-1] == pytest.approx(0.99)


def test_before_the_first_batch_the_temperature_is_the_given_one():
  none = token_weights.no_entropy_statistics()
  found = token_weights.adaptive_temperature(jnp.array([0.0, 1.0, 9.0]), none, temperature=0.7)
  np.testing.assert_array_equal(found, np.float32(0.7))


@both_precisions
def test_ranges_and_redistribution_equal_a_loop(dtype, tolerance):
  signal = exact(RNG.uniform(-1, 1, SHAPE))
  signal[0, 0] = 0.0
  ratio = exact(np.exp(RNG.normal(0, 0.15, SHAPE)))
  advantages = exact(RNG.normal(size=(SHAPE[0], 1)))
  low, high, moved = np.zeros(SHAPE), np.zeros(SHAPE), np.zeros(SHAPE)
  kinds = set()
  for p in np.ndindex(SHAPE):
    h = signal[p]
    low[p] = 0.2 * (1 - h) if h <= 0 else 0.2
    high[p] = 0.28 * (1 + h) if h > 0 else 0.28
    inside = 1 - low[p] / 2 < ratio[p] < 1 + high[p] / 2
    kinds.add((h > 0, inside))
    strong = (h > 0 and not inside) or (h <= 0 and inside)
    moved[p] = advantages[p[0], 0] * (1 + h if strong else 1)
  assert len(kinds) == 4

  def found(signal, ratio, advantages):
    ranges = token_weights.clip_ranges(signal, 0.2, 0.28)
    return jnp.stack([*ranges, token_weights.redistribute(advantages, signal, ratio, *ranges)])

  assert_close(
    run(found, dtype, signal, ratio, advantages),
    np.stack([low, high, moved]),
    tolerance,
    each=False,
  )
