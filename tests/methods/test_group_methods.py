"""Losses of whole groups against loops in float64, and against numeric differences."""

import cases_groups
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from harness import (
  all_cases,
  as_batch,
  as_scores,
  assert_parity,
  loss_and_gradient,
  loss_of_method,
  problem,
)

from rljax import divergences, methods
from rljax.types import Batch, Scores


@pytest.mark.parametrize('name', cases_groups.CASES)
def test_loss_and_gradient_equal_loops(name):
  assert_parity(name)


@pytest.mark.parametrize('name', ['disco', 'disco, likelihood ratio', 'drpo', 'rrhf'])
def test_the_gradient_is_that_of_the_whole_objective(name):
  """`measure` replaces the objective by a linear one: its value must move as the gradient says."""
  p = problem(0, [4, 4], extreme=False)
  if name == 'disco':
    p['old'] = p['logp'] + 0.01  # KL a little above the bound
  case = all_cases()[name]
  _, batch = as_batch(p, 'groups')
  with jax.enable_x64(True):
    wide = jax.tree.map(lambda x: x.astype(jnp.float64), (as_scores(p, 'groups'), batch))
    scores, batch = wide
    fn = jax.jit(lambda logp: loss_and_gradient(case.method, Scores(logp), batch))
    gradient = np.asarray(fn(scores.logp)[1].logp)
    rng, steps = np.random.default_rng(0), 1e-6
    for _ in range(3):
      way = rng.normal(size=gradient.shape)
      up, down = (fn(scores.logp + s * steps * way)[0][0] for s in (1, -1))
      assert float(up - down) / 2 / steps == pytest.approx(np.sum(gradient * way), rel=1e-5)
    assert np.abs(gradient).max() > 1e-3


def test_prompts_that_are_all_right_or_all_wrong_are_counted_and_give_nothing():
  logp = jnp.array([[[-1.0], [-2.0]], [[-1.0], [-3.0]], [[-5.0], [-6.0]]])
  batch = Batch(mask=jnp.ones_like(logp), rewards=jnp.array([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]))
  for method in (methods.disco(), methods.disco_b(), methods.drpo(max_length=1)):
    (loss, _), gradient = loss_of_method(method, Scores(logp), batch)
    assert float(loss) == pytest.approx(-1 / 3)
    np.testing.assert_allclose(gradient.logp[..., 0], [[-1 / 3, 1 / 3], [0, 0], [0, 0]], rtol=1e-6)
  (loss, _), gradient = loss_of_method(methods.redi(), Scores(logp), batch)
  assert float(loss) == pytest.approx(1 - 1.6)  # one pair, and the others are not counted
  np.testing.assert_allclose(gradient.logp[..., 0], [[-1, 0.8], [0, 0], [0, 0]], rtol=1e-6)


def test_rewards_other_than_zero_and_one_belong_to_neither_side():
  logp = jnp.array([[[-1.0], [-2.0], [-9.0], [-7.0]]])
  batch = Batch(mask=jnp.ones_like(logp), rewards=jnp.array([[1.0, 0.0, 0.5, -1.0]]))
  for method in (methods.disco(), methods.redi()):
    _, gradient = loss_of_method(method, Scores(logp), batch)
    assert (np.asarray(gradient.logp[0, :2]) != 0).all()
    assert (np.asarray(gradient.logp[0, 2:]) == 0).all()


@pytest.mark.parametrize('estimator', [divergences.k1, divergences.k3])
def test_a_kl_bound_is_free_below_delta_and_for_negative_estimates(estimator):
  logp = jnp.full((2, 2, 3), -1.0)
  base = methods.stateless(lambda batch: batch)
  method = methods.with_kl_bound(base, delta=0.1, beta=10.0, estimator=estimator)
  for shift, acts in ((0.0, False), (0.05, False), (0.9, True), (-0.2, False)):
    batch = Batch(mask=jnp.ones_like(logp), rewards=jnp.zeros((2, 2)), old_logp=logp + shift)
    (loss, terms), gradient = loss_of_method(method, Scores(logp), batch)
    k = shift if estimator is divergences.k1 else np.exp(-shift) - 1 + shift
    assert (k > 0.1) == acts
    assert float(loss) == pytest.approx(5 * max(k - 0.1, 0) ** 2, rel=1e-4)
    slope = -1 if estimator is divergences.k1 else np.exp(-shift) - 1
    expected = 10 * max(k - 0.1, 0) * slope / 12
    np.testing.assert_allclose(gradient.logp, expected, rtol=1e-4)
    assert float(terms['kl_bound']) == float(loss)


def test_a_kl_bound_keeps_the_measure_of_its_method():
  inner = methods.disco_b()
  method = methods.with_kl_bound(methods.stateless(lambda batch: batch))
  assert method.measure is not None and inner.measure is not None
  assert set(inner.terms) == {'policy', 'kl_bound'}
