import jax
import numpy as np
import pytest

from rljax import controllers


def slow(entropies, target, step, low, high, coef):
  """(coefficient, value) after each observation."""
  found = []
  for entropy in entropies:
    coef = min(coef + step, high) if entropy <= target else max(coef - step, low)
    found.append((coef, coef if entropy <= target else 0.0))
  return found


def test_the_entropy_coefficient_equals_a_loop_through_both_bounds():
  rng = np.random.default_rng(0)
  entropies = np.concatenate([np.full(8, 0.1), [0.5], rng.random(10), np.full(12, 0.9)])
  settings = dict(target=0.5, step=0.125, low=0.0625, high=0.75)
  controller = controllers.adaptive_entropy(initial=0.25, **settings)
  _, found = jax.lax.scan(
    lambda state, x: (lambda new: (new[0], new))(controller.update(state, x)),
    controller.init(),
    np.float32(entropies),
  )
  expected = slow(entropies, coef=0.25, **settings)
  np.testing.assert_allclose(np.stack(found, -1), expected, rtol=1e-6)
  assert {0.0625, 0.75} <= {coef for coef, _ in expected}


def test_at_the_target_itself_the_bonus_grows_and_acts():
  controller = controllers.adaptive_entropy(0.25)
  state, value = controller.update(controller.init(), 0.25)
  assert float(state) == float(value) == pytest.approx(0.005)


def test_a_start_outside_of_the_bounds_is_refused():
  with pytest.raises(ValueError, match='initial is 2'):
    controllers.adaptive_entropy(1.0, initial=2.0)
