"""Weights of groups: ADORA's, Q-Hawkeye's and UniVG-R1's."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from parity import assert_close, both_precisions, exact, random_mask, run

from rljax import advantages

RNG = np.random.default_rng(0)
SHAPE = (40, 5)
LENGTHS = RNG.integers(1, 17, SHAPE).astype(np.float64)
CORRECT = (RNG.random(SHAPE) < RNG.choice([0.0, 0.4, 0.8, 1.0], (SHAPE[0], 1))).astype(np.float64)
PREDICTED = exact(np.where(RNG.random(SHAPE) < 0.3, np.nan, RNG.uniform(0, 6, SHAPE)))
PREDICTED[3] = exact(1.1)
IOU = exact(RNG.random(SHAPE))
WHERE = random_mask(RNG, SHAPE)
LIMIT = 16


def slow_adora(kind, lengths, correct, lam=0.1, tau=0.5, amplification=2.0):
  right = [n for n, c in zip(lengths, correct, strict=True) if c > 0]
  wrong = [n for n, c in zip(lengths, correct, strict=True) if not c > 0 and n < LIMIT]
  empty = math.inf if kind == 'vision' else -math.inf
  longest = max(right) if right else -math.inf
  mean = sum(wrong) / len(wrong) if wrong else empty
  if kind == 'vision':
    return 1.0 if longest > mean or not right else lam
  if kind == 'language':
    return 1.0 if longest > mean else lam
  return amplification if longest > mean and len(right) / len(lengths) <= tau else 1.0


def slow_uncertainty(scores, alpha=0.2, low=1.0, high=5.0):
  readable = [min(max(s, low), high) for s in scores if not math.isnan(s)]
  spread = 0.0
  if len(readable) > 1:
    mean = sum(readable) / len(readable)
    spread = sum((s - mean) ** 2 for s in readable) / len(readable)
  u = min(max(spread / (0.25 * (high - low) ** 2 + 1e-8), 0), 1)
  return math.exp(-alpha * u)


def slow(fn, where, *arrays):
  out = np.zeros(SHAPE)
  for p in range(SHAPE[0]):
    members = [g for g in range(SHAPE[1]) if where[p, g]]
    if members:
      out[p] = fn(*([x[p, g] for g in members] for x in arrays))
  return out


ADORA = {
  'vision': advantages.adora_vision,
  'language': advantages.adora_language,
  'amplified': advantages.adora_amplified,
}


@both_precisions
@pytest.mark.parametrize('kind', ADORA)
def test_adora_equals_a_loop(dtype, tolerance, kind):
  for where in (WHERE, np.ones(SHAPE)):
    expected = slow(lambda n, c: slow_adora(kind, n, c), where, LENGTHS, CORRECT)
    occupied = where.sum(-1) > 0
    assert len(np.unique(expected[occupied])) == 2
    actual = run(
      lambda n, c, w: ADORA[kind](n, c, w, max_length=LIMIT), dtype, LENGTHS, CORRECT, where
    )
    assert_close(actual[occupied], expected[occupied], tolerance)
  unmarked = run(lambda n, c: ADORA[kind](n, c, max_length=LIMIT), dtype, LENGTHS, CORRECT)
  assert_close(unmarked, expected, tolerance)


@pytest.mark.parametrize(
  ('lengths', 'correct', 'expected'),
  [
    ([9.0, 5.0, 5.0], [1.0, 0.0, 0.0], (1.0, 1.0, 2.0)),  # thinking longer paid
    ([5.0, 5.0, 5.0], [1.0, 0.0, 0.0], (0.1, 0.1, 1.0)),  # as long is not longer
    ([9.0, 5.0, 9.0], [1.0, 0.0, 1.0], (1.0, 1.0, 1.0)),  # paid, but the group is not hard
    ([9.0, 9.0, 9.0], [1.0, 1.0, 1.0], (0.1, 1.0, 1.0)),  # nothing failed
    ([9.0, 16.0, 16.0], [1.0, 0.0, 0.0], (0.1, 1.0, 2.0)),  # failed by truncation only
    ([9.0, 5.0, 16.0], [0.0, 0.0, 0.0], (1.0, 0.1, 1.0)),  # nothing is right
    ([9.0], [1.0], (0.1, 1.0, 1.0)),
  ],
)
def test_adora_on_groups_of_every_kind(lengths, correct, expected):
  for fn, weight in zip(ADORA.values(), expected, strict=True):
    found = fn(jnp.array([lengths]), jnp.array([correct]), max_length=LIMIT)
    np.testing.assert_array_equal(found, np.full((1, len(lengths)), np.float32(weight)))


@both_precisions
def test_the_uncertainty_weight_equals_a_loop(dtype, tolerance):
  for kwargs in ({}, {'alpha': 2.0, 'low': 2.0, 'high': 4.0}):
    expected = slow(lambda s, kw=kwargs: slow_uncertainty(s, **kw), WHERE, PREDICTED)
    occupied = WHERE.sum(-1) > 0
    assert np.ptp(expected[occupied]) > 0.05
    actual = run(
      lambda s, w, kw=kwargs: advantages.uncertainty_weight(s, w, **kw), dtype, PREDICTED, WHERE
    )
    assert_close(actual[occupied], expected[occupied], tolerance)


def test_uncertainty_of_equal_split_and_unreadable_scores():
  nan = np.nan
  scores = jnp.array(
    [[1.1] * 4, [1.0, 5.0, 1.0, 5.0], [-9.0, 50.0, nan, nan], [nan] * 4, [2.0, nan, nan, nan]]
  )
  found = advantages.uncertainty_weight(scores)[:, 0]
  np.testing.assert_allclose(found, [1, math.exp(-0.2), math.exp(-0.2), 1, 1], rtol=1e-6)
  assert found[0] == found[3] == found[4] == 1


DIFFICULTY = {
  'exp': (advantages.exp_difficulty, lambda m: math.exp(1 - m)),
  'power': (advantages.power_difficulty, lambda m: 1.05 - m),
  'cube': (lambda x, w: advantages.power_difficulty(x, w, k=3.0), lambda m: (1.05 - m) ** 3),
  'log': (advantages.log_difficulty, lambda m: -math.log(0.02 + m)),
}


@both_precisions
@pytest.mark.parametrize('kind', DIFFICULTY)
def test_difficulty_equals_a_loop(dtype, tolerance, kind):
  fn, of_mean = DIFFICULTY[kind]
  expected = slow(lambda x: of_mean(sum(x) / len(x)), WHERE, IOU)
  occupied = WHERE.sum(-1) > 0
  actual = run(fn, dtype, IOU, WHERE)
  assert_close(actual[occupied], expected[occupied], tolerance)


def test_difficulty_of_perfect_and_of_no_overlap():
  iou = jnp.array([[1.0, 1.0], [0.0, 0.0]])
  np.testing.assert_allclose(advantages.exp_difficulty(iou)[:, 0], [1, math.e], rtol=1e-6)
  assert (advantages.log_difficulty(iou)[0] < 0).all()


WEIGHTS = [
  *(
    lambda x, w, fn=fn: fn(x, (x > 0.5).astype(x.dtype), w, max_length=LIMIT)
    for fn in ADORA.values()
  ),
  advantages.uncertainty_weight,
  *(fn for fn, _ in DIFFICULTY.values()),
]


@pytest.mark.parametrize('fn', WEIGHTS)
@pytest.mark.parametrize('garbage', [np.nan, np.inf, 1e30])
def test_members_that_are_not_real_are_not_read(fn, garbage):
  where = jnp.asarray(WHERE, jnp.float32)
  clean = jnp.asarray(LENGTHS / LIMIT, jnp.float32)
  found = fn(clean, where)
  assert np.isfinite(found).all()
  np.testing.assert_array_equal(fn(jnp.where(where > 0, clean, garbage), where), found)


@pytest.mark.parametrize('fn', WEIGHTS)
def test_rows_are_never_taken_for_one_big_group(fn):
  with pytest.raises(AssertionError):
    fn(jnp.ones(4), jnp.ones(4))
