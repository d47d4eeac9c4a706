"""Surrogates beside PPO's against loops in float64, and what their cards promise."""

import cases_surrogates
import jax.numpy as jnp
import numpy as np
import pytest
from harness import as_batch, assert_parity, loss_of_method, problem

from rljax import methods
from rljax.types import Batch, Scores


@pytest.mark.parametrize('name', cases_surrogates.CASES)
def test_loss_and_gradient_equal_loops(name):
  assert_parity(name)


def test_gspo_token_has_the_value_and_gradient_of_gspo():
  logp, batch = as_batch(problem(0, [4, 4, 4], keep=True), 'groups')
  (loss, terms), gradient = loss_of_method(methods.gspo(), Scores(logp), batch)
  (found, found_terms), slope = loss_of_method(methods.gspo_token(), Scores(logp), batch)
  assert np.abs(gradient.logp).max() > 0
  np.testing.assert_allclose(found, loss, rtol=1e-6)
  np.testing.assert_allclose(slope.logp, gradient.logp, rtol=1e-5, atol=1e-8)
  assert terms['clip_fraction'] == found_terms['clip_fraction'] > 0


def test_gmpo_without_a_bound_is_gspo_without_a_clip():
  logp, batch = as_batch(problem(0, [4, 4, 4], keep=True), 'groups')
  free = methods.gmpo(clip_low=99.0, clip_high=99.0)
  (loss, _), gradient = loss_of_method(free, Scores(logp), batch)
  wide = methods.gspo(clip_low=99.0, clip_high=1e9)
  (expected, _), slope = loss_of_method(wide, Scores(logp), batch)
  np.testing.assert_allclose(loss, expected, rtol=1e-6)
  np.testing.assert_allclose(gradient.logp, slope.logp, rtol=1e-6)
  assert np.abs(slope.logp).max() > 0


def test_clip_fractions_are_shares_of_the_tokens_that_are_held():
  old = jnp.zeros((1, 2, 4))
  logp = jnp.array([[[0.5, -0.5, 0.1, 2.0], [0.5, -0.5, 0.1, 2.0]]])
  batch = Batch(mask=jnp.ones_like(old), rewards=jnp.array([[1.0, 0.0]]), old_logp=old)
  for method, expected in (
    (methods.gmpo(), 3 / 8),  # of the right answer 0.5 and 2, of the wrong one -0.5
    (methods.cispo(), 2 / 8),  # exp(2) in both
    (methods.cispo(low=0.7), 4 / 8),  # exp(-0.5) as well
  ):
    (_, terms), _ = loss_of_method(method, Scores(logp), batch)
    assert float(terms['clip_fraction']) == pytest.approx(expected)


def test_a_truncated_answer_is_wrong_whatever_it_says():
  batch = Batch(
    mask=jnp.ones((1, 3, 2)),
    rewards=jnp.array([[1.0, 1.0, 0.0]]),
    truncated=jnp.array([[0.0, 1.0, 0.0]]),
  )
  _, prepared = methods.w_reinforce().prepare((), batch)
  np.testing.assert_allclose(prepared.advantages[0, :, 0], [0.1, -1.0, -1.0])
  assert prepared.keep is None
  _, prepared = methods.psr().prepare((), batch)
  np.testing.assert_array_equal(prepared.keep, [[1.0, 0.0, 0.0]])
  assert prepared.advantages[0, 0, 0] == 1
  _, prepared = methods.nsr().prepare((), batch)
  np.testing.assert_array_equal(prepared.keep, [[0.0, 1.0, 1.0]])
  np.testing.assert_array_equal(prepared.advantages[0, 1:, 0], -1.0)


@pytest.mark.parametrize(('name', 'reward'), [('psr', 0.0), ('nsr', 1.0)])
def test_nothing_kept_is_no_loss(name, reward):
  logp = jnp.full((1, 3, 2), -1.0)
  batch = Batch(mask=jnp.ones_like(logp), rewards=jnp.full((1, 3), reward))
  (loss, _), gradient = loss_of_method(getattr(methods, name)(), Scores(logp), batch)
  assert loss == 0 and (np.asarray(gradient.logp) == 0).all()
  (loss, _), gradient = loss_of_method(methods.w_reinforce(), Scores(logp), batch)
  assert loss != 0 and (np.asarray(gradient.logp) != 0).all()  # equal rewards are no special case
