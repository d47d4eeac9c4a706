"""RLSP's and RLPT's rewards."""

import jax.numpy as jnp
import numpy as np
import pytest
from parity import assert_close, both_precisions, exact, run

from rljax import shaping

RNG = np.random.default_rng(0)
N = 60
CORRECT = RNG.integers(0, 2, N).astype(np.float64)
ANSWERED = np.maximum(CORRECT, RNG.integers(0, 2, N))
CHARACTERS = RNG.integers(0, 3, N) * RNG.integers(1, 400, N).astype(np.float64)
JUDGEMENT = exact(RNG.uniform(-0.3, 1, N))
FAILED = (RNG.random(N) < 0.2).astype(np.float64)


def slow_rlsp(i, length_penalty, judge):
  """One reward, with the exceptions that end it."""
  try:
    if FAILED[i]:
      raise ValueError
    reward = -0.5 if not ANSWERED[i] else CORRECT[i]
    if length_penalty:
      reward -= length_penalty / (float(CHARACTERS[i]) / 4)
    if judge:
      opinion = 0.5 if JUDGEMENT[i] < 0 else JUDGEMENT[i]
      reward = 0.8 * reward + 0.2 * opinion
  except (ValueError, ZeroDivisionError):
    reward = 0.0
  return reward


@both_precisions
@pytest.mark.parametrize('length_penalty', [0.0, 20.0, 1000.0])
def test_rlsp_equals_a_loop(dtype, tolerance, length_penalty):
  columns = (CORRECT, ANSWERED, CHARACTERS)
  expected = np.array([slow_rlsp(i, length_penalty, False) for i in range(N)])
  found = run(
    lambda c, a, n, f: shaping.rlsp(c, a, n, f, length_penalty=length_penalty),
    dtype,
    *columns,
    FAILED,
  )
  assert_close(found, expected, tolerance, each=False)
  assert_close(found[expected == 0], expected[expected == 0], 0)
  judged = np.array([slow_rlsp(i, length_penalty, True) for i in range(N)])
  found = run(
    lambda c, a, n, u, f: shaping.rlsp_judged(c, a, n, u, f, length_penalty=length_penalty),
    dtype,
    *columns,
    JUDGEMENT,
    FAILED,
  )
  assert_close(found, judged, tolerance, each=False)
  assert len(set(judged)) > 10 and (CHARACTERS == 0).any()


def test_rlsp_by_hand():
  correct, answered = jnp.array([1.0, 0.0, 0.0]), jnp.array([1.0, 1.0, 0.0])
  characters = jnp.full(3, 8000.0)
  plain = shaping.rlsp(correct, answered, characters, length_penalty=0.0)
  np.testing.assert_allclose(plain, [1.0, 0.0, -0.5])
  paid = shaping.rlsp(correct, answered, characters, length_penalty=1000.0)
  np.testing.assert_allclose(paid, [0.5, -0.5, -1.0], atol=1e-6)
  mixed = shaping.rlsp_judged(
    correct, answered, characters, jnp.array([1.0, -1.0, jnp.nan]), length_penalty=0.0
  )
  np.testing.assert_allclose(mixed, [1.0, 0.1, -0.3], atol=1e-6)


def test_an_empty_text_gets_nothing_if_lengths_count_and_no_answer_if_not():
  empty = jnp.zeros(1), jnp.zeros(1), jnp.zeros(1)
  assert shaping.rlsp(*empty)[0] == 0
  assert shaping.rlsp_judged(*empty, jnp.ones(1))[0] == 0
  assert shaping.rlsp(*empty, length_penalty=0.0)[0] == -0.5


@both_precisions
def test_rlpt_equals_a_loop(dtype, tolerance):
  expected = [(0.3 if m else 1.0) if v else 0.0 for v, m in zip(CORRECT, FAILED, strict=True)]
  assert set(expected) == {0.0, 0.3, 1.0}
  found = run(lambda v, m: shaping.rlpt(v, m, middle_weight=0.3), dtype, CORRECT, FAILED)
  assert_close(found, expected, tolerance)


def test_a_negative_weight_of_rlpt_is_refused():
  with pytest.raises(ValueError, match='must not be negative'):
    shaping.rlpt(jnp.ones(2), jnp.ones(2), middle_weight=-0.5)
