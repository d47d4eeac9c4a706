"""The chi-squared divergence: against loops, its mean and the mean of its gradient, the penalty."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from parity import assert_close, both_precisions, exact, run

from rljax import divergences, shaping

RNG = np.random.default_rng(0)
Z = exact([0.0, 1e-4, -1e-3, 0.5, -2.0, 9.99, 10.0, -10.0, 10.5, -25.0, 24.0, 100.0])


def slow_f(z):
  return math.expm1(z) if z < 10 else math.exp(10) * (1 + z - 10) - 1


def slow_slope(z):
  return math.exp(min(z, 10)) - math.exp(min(-z, 10))


@both_precisions
def test_parts_and_gradients_equal_a_loop(dtype, tolerance):
  assert_close(
    run(divergences.chi2, dtype, Z),
    [2 * (math.cosh(z) - 1) if abs(z) < 1 else slow_f(z) + slow_f(-z) for z in Z],
    1e-5,
  )
  slope = run(jax.grad(lambda z: divergences.chi2(z).sum()), dtype, Z)
  assert_close(slope, [slow_slope(z) for z in Z], 10 * tolerance)


def test_mean_and_mean_gradient_by_enumeration():
  with jax.enable_x64(True):
    logits, other = jnp.asarray(RNG.normal(size=4)), jnp.asarray(RNG.normal(size=4))
    ref = jax.nn.log_softmax(other)

    def exactly(fn):
      return jax.grad(lambda x: fn(jax.nn.log_softmax(x)))(logits)

    def parts(logp):
      p = jax.lax.stop_gradient(jnp.exp(logp))
      return jnp.sum(p * divergences.chi2(logp - ref))

    chi2 = lambda logp: jnp.sum(jnp.exp(ref) * (jnp.exp(logp - ref) - 1) ** 2)  # noqa: E731
    kl = lambda logp: jnp.sum(jnp.exp(ref) * (ref - logp))  # noqa: E731
    logp = jax.nn.log_softmax(logits)
    np.testing.assert_allclose(parts(logp), chi2(logp), rtol=1e-10)
    np.testing.assert_allclose(exactly(parts), exactly(chi2) / 2 + exactly(kl), rtol=1e-9)


def slow_penalty(d, where, trim):
  x = sorted(v - 1 for v, w in zip(d.ravel(), where.ravel(), strict=True) if w)
  i = int(trim * len(x))
  kept = x[i : len(x) - i]
  chi2 = sum(kept) / len(kept) if kept else 0.0
  return np.where(where > 0, (d - 1) / (math.sqrt(chi2) if chi2 > 0 else 1.0), 0.0)


@both_precisions
def test_the_penalty_equals_a_loop(dtype, tolerance):
  for seed, trim, shift in ((0, 0.01, 0.5), (1, 0.1, 0.5), (2, 0.1, -2.0)):
    rng = np.random.default_rng(seed)
    d = exact(np.exp(rng.normal(shift, 1, (40, 5))))
    where = (rng.random((40, 5)) < 0.9).astype(float)
    expected = slow_penalty(d, where, trim)
    found = run(
      lambda d, w, trim=trim: shaping.chi2_penalty(d, w, trim=trim),
      dtype,
      np.where(where > 0, d, np.nan),
      where,
    )
    assert_close(found, expected, tolerance, each=False)
    assert (shift < 0) == np.array_equal(np.float32(expected), np.float32((d - 1) * where))


def test_a_policy_that_is_its_reference_has_no_penalty():
  np.testing.assert_array_equal(shaping.chi2_penalty(jnp.ones((2, 3))), 0.0)
  np.testing.assert_array_equal(divergences.chi2(jnp.zeros(3)), 0.0)
