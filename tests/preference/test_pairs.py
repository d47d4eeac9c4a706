"""Pair losses against NumPy in float64, their closed-form gradients and their edge values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import assert_close, both_precisions, exact, run

from rljax import preference


def log_sigmoid(x):
  return -np.log1p(np.exp(-x)) if x > 0 else x - np.log1p(np.exp(x))


@both_precisions
@pytest.mark.parametrize('smoothing', [0.0, 0.1])
@pytest.mark.parametrize('beta', [0.0, 0.1, 2.0])
def test_dpo_equals_a_loop(dtype, tolerance, smoothing, beta):
  scores = exact(np.random.default_rng(0).normal(0, 20, (7, 2)))
  expected = [
    -(1 - smoothing) * log_sigmoid(beta * (w - l)) - smoothing * log_sigmoid(-beta * (w - l))
    for w, l in scores
  ]
  found = run(lambda s: preference.dpo(s, beta, smoothing), dtype, scores)
  assert_close(found, expected, tolerance)


def test_dpo_of_equal_scores_is_log_two_for_every_smoothing():
  equal = jnp.array([[3.0, 3.0], [-1e4, -1e4]])
  for smoothing in (0.0, 0.3):
    np.testing.assert_allclose(preference.dpo(equal, 0.1, smoothing), np.log(2), rtol=1e-6)


def test_dpo_gradient_is_the_probability_of_being_wrong():
  scores = jnp.array([[1.0, -1.0], [1.0, 2.0], [500.0, -500.0], [-500.0, 500.0]])
  gradient = jax.grad(lambda s: preference.dpo(s, 0.1).sum())(scores)
  wrong = 0.1 / (1 + np.exp(0.1 * (scores[:, 0] - scores[:, 1])))
  np.testing.assert_allclose(gradient, np.stack([-wrong, wrong], -1), rtol=1e-5, atol=1e-20)


def test_dpo_refuses_a_smoothing_of_one_half():
  with pytest.raises(ValueError, match='label_smoothing is'):
    preference.dpo(jnp.zeros((1, 2)), label_smoothing=0.5)
