import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import assert_close, both_precisions, exact, run

from rljax import divergences

RNG = np.random.default_rng(0)
SHAPE = (2, 3, 8)
LOGP = exact(-RNG.exponential(2.0, SHAPE))
REF = exact(LOGP - np.linspace(-25.0, 24.0, LOGP.size).reshape(SHAPE))
OLD = exact(LOGP + 0.3 * RNG.normal(size=SHAPE))

POLICY = RNG.normal(size=6)  # logits over a vocabulary of six tokens
REFERENCE = RNG.normal(size=6)
BEHAVIOR = RNG.normal(size=6)


def slow_k3(d):
  d = np.maximum(d, -20.0)
  return np.exp(-d) - 1 + d


VALUES = {
  'k1': lambda d: d,
  'absolute': np.abs,
  'k2': lambda d: d * d / 2,
  'k3': slow_k3,
  'k1_plus': lambda d: d,
  'k3_plus': slow_k3,
}
GRADIENTS = {
  'k1': np.ones_like,
  'absolute': np.sign,
  'k2': lambda d: d,
  'k3': lambda d: np.where(d < -20, 0.0, 1 - np.exp(-np.maximum(d, -20.0))),
  'k1_plus': lambda d: d,
  'k3_plus': lambda d: d,
}


@both_precisions
@pytest.mark.parametrize('name', VALUES)
def test_values_equal_the_formula(dtype, tolerance, name):
  # k3 cancels near 0: its error is relative to the log-ratio there.
  d = LOGP - REF
  actual = run(getattr(divergences, name), dtype, LOGP, REF)
  expected = VALUES[name](d)
  assert np.all(np.abs(actual - expected) <= tolerance * np.maximum(np.abs(expected), np.abs(d)))


@both_precisions
@pytest.mark.parametrize('name', GRADIENTS)
def test_gradients_are_in_closed_form(dtype, tolerance, name):
  fn = getattr(divergences, name)
  gradient = run(jax.grad(lambda x, ref: fn(x, ref).sum()), dtype, LOGP, REF)
  assert_close(gradient, GRADIENTS[name](LOGP - REF), tolerance)


@both_precisions
def test_k3_is_has_the_gradient_of_both_factors(dtype, tolerance):
  lr = LOGP - OLD
  d = LOGP - REF
  assert_close(run(divergences.k3_is, dtype, LOGP, REF, OLD), np.exp(lr) * slow_k3(d), tolerance)
  gradient = run(
    jax.grad(lambda x, ref, old: divergences.k3_is(x, ref, old).sum()), dtype, LOGP, REF, OLD
  )
  assert_close(gradient, np.exp(lr) * d, tolerance)  # of exp(lr) * (exp(-d) - 1 + d)


@pytest.mark.parametrize('name', [*VALUES, 'k3_is'])
def test_equal_policies_are_zero_apart(name):
  x = jnp.asarray(LOGP, jnp.float32)
  np.testing.assert_array_equal(getattr(divergences, name)(x, x), 0.0)


def test_a_policy_far_below_the_reference_is_never_pushed_further_away():
  logp = jnp.array([[-1e4, -50.0, -21.0]])
  for name in ('k2', 'k3', 'k1_plus', 'k3_plus', 'k3_is'):
    fn = getattr(divergences, name)
    assert np.all(np.isfinite(fn(logp, jnp.zeros_like(logp))))
    gradient = jax.grad(lambda x, fn=fn: fn(x, jnp.zeros_like(x)).sum())(logp)
    assert np.all(gradient <= 0)


def test_low_precision_is_subtracted_in_float32():
  x = jnp.array([[-1.0]], jnp.bfloat16)
  np.testing.assert_allclose(divergences.k1(x, jnp.array([[-1.001]])), 0.001, rtol=1e-4)


def test_shapes_must_agree():
  with pytest.raises(AssertionError):
    divergences.k3(jnp.ones((2, 3)), jnp.ones((2, 1)))


def kl(logits, other):
  p, q = jax.nn.log_softmax(logits), jax.nn.log_softmax(other)
  return jnp.sum(jnp.exp(p) * (p - q))


def enumerate_mean(estimator, logits, sampler):
  """The mean over every token of the vocabulary; the sampler's probabilities are constants."""
  weights = jax.nn.softmax(jax.lax.stop_gradient(sampler))
  return jnp.sum(weights * estimator(jax.nn.log_softmax(logits), jax.nn.log_softmax(REFERENCE)))


def forward_gradient(theta):
  return jax.grad(kl)(theta, jnp.asarray(REFERENCE))


def reverse_gradient(theta):
  return jax.grad(lambda x: kl(jnp.asarray(REFERENCE), x))(theta)


TABLE = {
  'k1': (True, jnp.zeros_like),
  'k2': (False, forward_gradient),
  'k3': (True, reverse_gradient),
  'k1_plus': (True, forward_gradient),
  'k3_plus': (True, forward_gradient),
}


@pytest.mark.parametrize('name', TABLE)
def test_the_table_of_mean_values_and_gradients_holds_by_enumeration(name):
  unbiased, gradient = TABLE[name]
  with jax.enable_x64(True):
    theta = jnp.asarray(POLICY)
    value, slope = jax.value_and_grad(lambda x: enumerate_mean(getattr(divergences, name), x, x))(
      theta
    )
    truth = kl(theta, jnp.asarray(REFERENCE))
    assert (abs(value - truth) < 1e-12 * truth) == unbiased
    np.testing.assert_allclose(slope, gradient(theta), rtol=1e-10, atol=1e-12)


def test_k3_is_holds_for_samples_of_another_policy():
  with jax.enable_x64(True):
    theta, old = jnp.asarray(POLICY), jnp.asarray(BEHAVIOR)

    def estimator(logp, ref_logp):
      return divergences.k3_is(logp, ref_logp, jax.nn.log_softmax(old))

    value, slope = jax.value_and_grad(lambda x: enumerate_mean(estimator, x, old))(theta)
    np.testing.assert_allclose(value, kl(theta, jnp.asarray(REFERENCE)), rtol=1e-12)
    np.testing.assert_allclose(slope, forward_gradient(theta), rtol=1e-10, atol=1e-12)
    slope = jax.grad(lambda x: enumerate_mean(divergences.k3_is, x, x))(theta)
    np.testing.assert_allclose(slope, forward_gradient(theta), rtol=1e-10, atol=1e-12)


def test_k2_is_right_to_second_order_only():
  with jax.enable_x64(True):
    errors = []
    for step in (1e-2, 1e-3):
      theta = jnp.asarray(REFERENCE + step * POLICY)
      error = enumerate_mean(divergences.k2, theta, theta) - kl(theta, jnp.asarray(REFERENCE))
      errors.append(abs(float(error)))
    assert 800 < errors[0] / errors[1] < 1200  # the error is of third order


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.floats(-60.0, 60.0))
def test_k3_is_never_negative(d):
  assert run(divergences.k3, 'float32', np.full((1, 1), d), np.zeros((1, 1))) >= 0
