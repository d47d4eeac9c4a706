import numpy as np
import pytest
from parity import assert_close, both_precisions, exact, run

from rljax import advantages

RNG = np.random.default_rng(4)
SCORES = exact(RNG.choice([0.0, 0.5, 1.0], (3, 4)))
SCORES[0] = [1.0, 1 - 5e-6, 1 - 1e-4, 0.0]  # to within 1e-5
ADVANTAGES = exact(RNG.normal(size=(3, 4, 5)))


@both_precisions
@pytest.mark.parametrize(('bonus', 'threshold'), [(0.1, 1.0), (0.5, 0.5), (0.0, 1.0)])
def test_the_boost_equals_a_loop(dtype, tolerance, bonus, threshold):
  expected = ADVANTAGES.copy()
  for at in np.ndindex(SCORES.shape):
    if SCORES[at] >= threshold - 1e-5:
      expected[at] += bonus

  def fn(a, s):
    return advantages.boost(a, s, bonus=bonus, threshold=threshold)

  found = run(fn, dtype, ADVANTAGES, SCORES)
  assert_close(found, expected, tolerance, each=False)
  one = run(fn, dtype, ADVANTAGES[..., 0], SCORES)
  assert_close(one, expected[..., 0], tolerance, each=False)


def test_right_answers_alone_are_boosted():
  found = run(advantages.boost, 'float32', np.zeros((1, 4)), SCORES[:1])
  np.testing.assert_array_equal(found, [[np.float32(0.1), np.float32(0.1), 0, 0]])
