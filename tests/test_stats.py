import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from parity import assert_close, both_precisions, exact, random_mask, run

from rljax import stats

X = exact(np.random.default_rng(0).normal(2.0, 3.0, (5, 7)))
MASK = random_mask(np.random.default_rng(1), X.shape)


def slow_mean(values):
  return sum(values) / len(values) if values else 0.0


def slow_variance(values, ddof):
  if len(values) <= ddof:
    return 0.0
  m = slow_mean(values)
  return sum((v - m) ** 2 for v in values) / (len(values) - ddof)


def rows(x, mask):
  return [[v for v, m in zip(xs, ms, strict=True) if m] for xs, ms in zip(x, mask, strict=True)]


@both_precisions
def test_mean_equals_a_loop(dtype, tolerance):
  expected = np.array([slow_mean(r) for r in rows(X, MASK)])
  assert_close(run(lambda x, m: stats.mean(x, m, -1), dtype, X, MASK), expected, tolerance)
  total = np.array(slow_mean([v for r in rows(X, MASK) for v in r]))
  assert_close(run(stats.mean, dtype, X, MASK), total, tolerance)
  assert_close(run(stats.mean, dtype, X), X.mean(), tolerance)


@both_precisions
@pytest.mark.parametrize('ddof', [0, 1, 2])
def test_variance_and_std_equal_a_loop(dtype, tolerance, ddof):
  expected = np.array([slow_variance(r, ddof) for r in rows(X, MASK)])
  v = run(lambda x, m: stats.variance(x, m, -1, ddof=ddof), dtype, X, MASK)
  s = run(lambda x, m: stats.std(x, m, -1, ddof=ddof), dtype, X, MASK)
  assert_close(v, expected, tolerance)
  assert_close(s, np.sqrt(expected), tolerance)
  total = np.array(slow_variance([v for r in rows(X, MASK) for v in r], ddof))
  assert_close(run(lambda x, m: stats.variance(x, m, ddof=ddof), dtype, X, MASK), total, tolerance)


@pytest.mark.parametrize('fn', [stats.mean, stats.variance, stats.std])
def test_axis_and_keepdims_give_numpys_shapes(fn):
  x = jnp.arange(24.0).reshape(2, 3, 4)
  for axis in (None, 0, -1, (1, 2)):
    for keepdims in (False, True):
      expected = np.mean(x, axis=axis, keepdims=keepdims).shape
      assert fn(x, jnp.ones_like(x), axis, keepdims).shape == expected


@both_precisions
def test_whiten_equals_a_loop(dtype, tolerance):
  values = [v for r in rows(X, MASK) for v in r]
  m, v = slow_mean(values), slow_variance(values, 1)
  expected = np.where(MASK > 0, (X - m) / np.sqrt(v + 1e-8), 0.0)
  assert_close(run(stats.whiten, dtype, X, MASK), expected, tolerance, each=False)


@pytest.mark.parametrize('fn', [stats.mean, stats.variance, stats.std, stats.whiten])
@pytest.mark.parametrize('garbage', [np.nan, np.inf, -np.inf, 3e38])
def test_masked_entries_never_leak(fn, garbage):
  mask = jnp.asarray(MASK, jnp.float32)
  clean = jnp.where(mask > 0, jnp.asarray(X, jnp.float32), 0.0)
  dirty = jnp.where(mask > 0, clean, garbage)

  def total(x):
    return jnp.sum(fn(x, mask) ** 2 * (1.0 + jnp.arange(7.0)[None, :]))

  np.testing.assert_array_equal(fn(dirty, mask), fn(clean, mask))
  gradient = jax.grad(total)(dirty)
  np.testing.assert_array_equal(gradient, jax.grad(total)(clean))
  np.testing.assert_array_equal(gradient[mask == 0], 0.0)
  assert np.abs(gradient).max() > 0


@pytest.mark.parametrize('fn', [stats.mean, stats.variance, stats.std, stats.whiten])
@pytest.mark.parametrize('members', [0, 1])
def test_few_entries_have_finite_gradients(fn, members):
  x, mask = jnp.full((2, 3), 0.1), jnp.zeros((2, 3)).at[0, :members].set(1.0)
  expected = 0.1 if fn is stats.mean and members else 0.0
  np.testing.assert_allclose(np.max(fn(x, mask)), expected, rtol=1e-6)
  assert np.all(np.isfinite(jax.grad(lambda y: fn(y, mask).sum())(x)))


def test_std_has_its_closed_form_gradient_and_none_at_zero():
  x = jnp.array([1.0, 2.0, 4.0, 10.0])
  s = stats.std(x)
  np.testing.assert_allclose(jax.grad(stats.std)(x), (x - x.mean()) / (4 * s), rtol=1e-5)
  np.testing.assert_array_equal(jax.grad(stats.std)(jnp.full(4, 2.0)), 0.0)


@pytest.mark.parametrize('value', [0.1, 1 / 3, -0.7, 1e30, 0.0])
@pytest.mark.parametrize('n', [2, 3, 7, 10, 1000])
def test_equal_entries_are_constant_and_whiten_to_exactly_zero(value, n):
  x = jnp.full((1, n), value)
  assert stats.is_constant(x).all()
  np.testing.assert_array_equal(stats.whiten(x, jnp.ones_like(x)), 0.0)


def test_is_constant_sees_one_unit_in_the_last_place_and_ignores_the_unreal():
  x = jnp.array([[0.1, np.nextafter(np.float32(0.1), np.float32(1))], [0.1, 0.1]], jnp.float32)
  np.testing.assert_array_equal(stats.is_constant(x), [[False], [True]])
  where = jnp.array([[1.0, 0.0], [0.0, 0.0]])
  np.testing.assert_array_equal(stats.is_constant(x, where, keepdims=False), [True, True])
  assert not stats.is_constant(x, axis=None, keepdims=False)


def test_low_precision_and_integers_are_reduced_in_float32():
  x = jnp.full((1, 4096), 1.01, jnp.bfloat16)
  for fn in (stats.mean, stats.variance, stats.std):
    assert fn(x).dtype == jnp.float32
  assert stats.mean(x) == x[0, 0].astype(jnp.float32)
  assert stats.mean(jnp.array([1, 2])) == 1.5


def test_a_mask_of_another_shape_is_refused():
  with pytest.raises(AssertionError):
    stats.mean(jnp.ones((2, 3)), jnp.ones((3,)))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 2**31), st.integers(1, 5), st.floats(0.5, 4.0), st.floats(-3.0, 3.0))
def test_whitening_ignores_scale_shift_and_padding(seed, padding, scale, shift):
  rng = np.random.default_rng(seed)
  x, mask = rng.normal(size=(3, 4)), random_mask(rng, (3, 4))
  wide = [np.pad(a, ((0, 0), (0, padding)), constant_values=c) for a, c in ((x, 7.0), (mask, 0.0))]
  plain = run(stats.whiten, 'float64', x, mask)
  moved = run(stats.whiten, 'float64', scale * x + shift, mask)
  np.testing.assert_allclose(moved, plain, atol=1e-6)  # eps does not scale
  np.testing.assert_allclose(run(stats.whiten, 'float64', *wide)[:, :4], plain, atol=1e-12)


@both_precisions
def test_explained_variance_equals_a_loop(dtype, tolerance):
  predictions = exact(0.7 * X + np.random.default_rng(2).normal(0, 1.0, X.shape))
  pairs = [(x, y) for x, y, m in zip(X.flat, predictions.flat, MASK.flat, strict=True) if m]
  left = slow_variance([x - y for x, y in pairs], 0)
  expected = np.array(1 - left / slow_variance([x for x, _ in pairs], 0))
  assert 0.3 < expected < 0.95
  assert_close(run(stats.explained_variance, dtype, X, predictions, MASK), expected, tolerance)


def test_explained_variance_of_right_constant_and_useless_predictions():
  x, mask = jnp.float32(X), jnp.asarray(MASK, jnp.float32)
  assert float(stats.explained_variance(x, x, mask)) == 1.0
  assert float(stats.explained_variance(x, x + 2, mask)) == pytest.approx(1.0, abs=1e-6)
  assert float(stats.explained_variance(x, jnp.full_like(x, 3.0), mask)) == pytest.approx(
    0, abs=1e-6
  )
  assert float(stats.explained_variance(x, -x, mask)) == pytest.approx(-3.0, rel=1e-5)


@pytest.mark.parametrize('value', [0.1, 1 / 3, 0.0])
def test_explained_variance_of_constant_targets_is_zero(value):
  x, mask = jnp.full(X.shape, value), jnp.asarray(MASK, jnp.float32)
  assert float(stats.explained_variance(x, jnp.float32(X), mask)) == 0.0
  assert float(stats.explained_variance(jnp.float32(X), jnp.float32(X), 0 * mask)) == 0.0
  spoilt = jnp.where(mask > 0, x, jnp.nan)
  assert float(stats.explained_variance(spoilt, spoilt, mask)) == 0.0


@given(
  x=hnp.arrays(np.float32, (3, 6), elements=st.sampled_from([-1.0, 0.0, 0.5, 2.0])),
  where=hnp.arrays(np.float32, (3, 6), elements=st.sampled_from([0.0, 1.0])),
)
@settings(max_examples=25, deadline=None, derandomize=True)
def test_ranks_equal_a_sort_of_each_row(x, where):
  found = np.asarray(stats.rank(jnp.asarray(x), jnp.asarray(where)))
  for row, real, places in zip(x, where, found, strict=True):
    order = sorted(range(6), key=lambda i: (real[i] == 0, -row[i] if real[i] else 0, i))
    assert [places[i] for i in order] == list(range(6))
