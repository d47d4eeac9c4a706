import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import assert_close, both_precisions, exact, run

from rljax import ratios, surrogates

RNG = np.random.default_rng(0)
SHAPE = (4, 60)
LOGP = exact(-RNG.exponential(2.0, SHAPE))
DIFFERENCE = np.concatenate([RNG.normal(0, 0.4, (4, 30)), RNG.uniform(-25, 24, (4, 30))], axis=1)
OLD = exact(LOGP - DIFFERENCE)
ADV = exact(RNG.normal(size=SHAPE))
ADV[:, ::7] = 0.0
RATIO = np.exp(np.clip(LOGP - OLD, -20, 20))


def cispo(logp, old, adv, low, high):
  return surrogates.cispo(logp, ratios.token(logp, old), adv, low=low, high=high)


@both_precisions
@pytest.mark.parametrize(('low', 'high'), [(0.0, 5.0), (0.8, 1.2)])
def test_cispo_and_its_gradient_equal_a_loop(dtype, tolerance, low, high):
  weights = np.zeros(SHAPE)
  for i in np.ndindex(SHAPE):
    weights[i] = min(max(RATIO[i], low), high)
  fn = functools.partial(cispo, low=low, high=high)
  assert_close(run(fn, dtype, LOGP, OLD, ADV), -weights * ADV * LOGP, tolerance)
  gradient = run(jax.grad(lambda *x: fn(*x).sum()), dtype, LOGP, OLD, ADV)
  assert_close(gradient, -weights * ADV, tolerance)


@both_precisions
def test_cispo_takes_bounds_per_token(dtype, tolerance):
  low, high = exact(RNG.uniform(0.1, 0.9, SHAPE)), exact(RNG.uniform(1.1, 2, (SHAPE[0], 1)))
  expected = -np.minimum(np.maximum(RATIO, low), high) * ADV * LOGP
  assert_close(run(cispo, dtype, LOGP, OLD, ADV, low, high), expected, tolerance)


@both_precisions
def test_sapo_and_its_gradient_equal_a_loop(dtype, tolerance):
  value, slope = np.zeros(SHAPE), np.zeros(SHAPE)
  for i in np.ndindex(SHAPE):
    tau = 1.0 if ADV[i] > 0 else 1.05
    gate = 1 / (1 + np.exp(-min(tau * (RATIO[i] - 1), 700)))
    rest = 1 / (1 + np.exp(min(tau * (RATIO[i] - 1), 700)))  # 1 - gate, and not rounded to 0
    value[i] = -ADV[i] * 4 / tau * gate
    slope[i] = -ADV[i] * 4 * gate * rest * RATIO[i] * (abs(LOGP[i] - OLD[i]) <= 20)

  def fn(logp, old, adv):
    return surrogates.sapo(ratios.token(logp, old), adv)

  assert_close(run(fn, dtype, LOGP, OLD, ADV), value, tolerance)
  gradient = run(jax.grad(lambda *x: fn(*x).sum()), dtype, LOGP, OLD, ADV)
  tail = np.abs(slope) < 1e-6  # there the exponent itself has no five digits in float32
  assert_close(np.where(tail, 0, gradient), np.where(tail, 0, slope), 5 * tolerance)
  assert np.abs(gradient[tail]).max() < 1e-5


def test_on_policy_the_gradient_is_minus_the_advantage():
  logp, adv = jnp.full((1, 3), -1.5), jnp.array([[2.0, 0.0, -3.0]])
  for fn in (
    lambda x: surrogates.sapo(ratios.token(x), adv),
    lambda x: surrogates.cispo(x, ratios.token(x), adv),
  ):
    np.testing.assert_allclose(jax.grad(lambda x, fn=fn: fn(x).sum())(logp), -adv, rtol=1e-6)
  value = surrogates.sapo(jnp.ones((1, 3)), adv)
  np.testing.assert_allclose(value, [[-4.0, 0.0, 6.0 / 1.05]], rtol=1e-6)  # -2 A / tau


def test_ratio_and_advantages_are_constants_where_they_should_be():
  logp, ratio, adv = jnp.full((1, 2), -1.5), jnp.array([[0.5, 9.0]]), jnp.array([[1.0, -2.0]])
  np.testing.assert_array_equal(
    jax.grad(lambda r: surrogates.cispo(logp, r, adv).sum())(ratio), 0.0
  )
  for fn in (lambda a: surrogates.cispo(logp, ratio, a), lambda a: surrogates.sapo(ratio, a)):
    np.testing.assert_array_equal(jax.grad(lambda a, fn=fn: fn(a).sum())(adv), 0.0)
