import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import assert_close, both_precisions, exact, random_mask, run

from rljax import ratios

SHAPE = (2, 3, 8)
RNG = np.random.default_rng(0)
LOGP = exact(-RNG.exponential(2.0, SHAPE))
# From -25 to 24: the clamp is reached on both sides.
OLD = exact(LOGP - np.linspace(-25.0, 24.0, LOGP.size).reshape(SHAPE))
NEAR = exact(LOGP + 0.3 * RNG.normal(size=SHAPE))
MASK = random_mask(RNG, SHAPE)


def slow_token(logp, old):
  return np.exp(np.minimum(np.maximum(logp - old, -20.0), 20.0))


def slow_sequence(logp, old, mask):
  out = np.ones((*logp.shape[:-1], 1))
  for i in np.ndindex(logp.shape[:-1]):
    d = [a - b for a, b, m in zip(logp[i], old[i], mask[i], strict=True) if m]
    if d:
      out[i] = np.exp(min(max(sum(d) / len(d), -20.0), 20.0))
  return out


@both_precisions
def test_token_equals_a_loop_with_its_clamp(dtype, tolerance):
  assert_close(run(ratios.token, dtype, LOGP, OLD), slow_token(LOGP, OLD), tolerance)
  clamped = np.clip(LOGP - OLD, -20, 20)
  assert_close(run(ratios.log_ratio, dtype, LOGP, OLD), clamped, tolerance, each=False)


@both_precisions
@pytest.mark.parametrize('old', [OLD, NEAR], ids=['far', 'near'])
def test_sequence_ratios_equal_a_loop(dtype, tolerance, old):
  expected = slow_sequence(LOGP, old, MASK)
  assert_close(run(ratios.sequence, dtype, LOGP, old, MASK), expected, tolerance)
  per_token = run(ratios.sequence_token, dtype, LOGP, old, MASK)
  assert_close(per_token, np.broadcast_to(expected, SHAPE), tolerance)


def slow_geometric(logp, old, mask, advantages, low, high):
  """The ratio, and its gradient by token."""
  out, slopes = np.ones((*SHAPE[:-1], 1)), np.zeros(SHAPE)
  for i in np.ndindex(SHAPE[:-1]):
    ts, a = [t for t in range(SHAPE[-1]) if mask[i][t]], advantages[i][0]
    d = {t: logp[i][t] - old[i][t] for t in ts}
    held = {t: min(x, high) if a > 0 else max(x, -low) for t, x in d.items()}
    if ts:
      mean = sum(held.values()) / len(ts)
      out[i] = np.exp(min(max(mean, -20.0), 20.0))
      for t in ts:
        slopes[i][t] = out[i][0] / len(ts) * (held[t] == d[t]) * (abs(mean) <= 20)
  return out, slopes


@both_precisions
@pytest.mark.parametrize('old', [OLD, NEAR], ids=['far', 'near'])
def test_the_geometric_ratio_and_its_gradient_equal_a_loop(dtype, tolerance, old):
  advantages = exact(RNG.normal(size=(*SHAPE[:-1], 1)))
  assert (advantages > 0).any() and (advantages < 0).any()
  fn = functools.partial(ratios.geometric, low=0.25, high=0.125)
  args = LOGP, old, MASK, advantages
  expected, slopes = slow_geometric(*args, 0.25, 0.125)
  assert_close(run(fn, dtype, *args), expected, 4 * tolerance)  # the exponent is a sum
  assert_close(run(jax.grad(lambda *x: fn(*x).sum()), dtype, *args), slopes, 4 * tolerance)
  assert 0 < (slopes != 0).sum() < MASK.sum()


def test_the_geometric_ratio_of_nothing_is_one_and_garbage_does_not_leak():
  mask, advantages = jnp.asarray(MASK, jnp.float32), jnp.ones((*SHAPE[:-1], 1))
  clean = [jnp.where(mask > 0, jnp.float32(x), 0.0) for x in (LOGP, NEAR)]
  dirty = [jnp.where(mask > 0, x, jnp.nan) for x in clean]
  found = ratios.geometric(*dirty, mask, advantages)
  np.testing.assert_array_equal(found, ratios.geometric(*clean, mask, advantages))
  assert (np.asarray(found)[MASK.sum(-1) == 0] == 1).all()
  gradient = jax.grad(lambda x: ratios.geometric(x, dirty[1], mask, advantages).sum())(dirty[0])
  assert np.isfinite(gradient).all() and (gradient[mask == 0] == 0).all()
  with pytest.raises(AssertionError):
    ratios.geometric(*clean, mask, jnp.ones(SHAPE))


@both_precisions
def test_token_gradient_is_the_ratio_inside_the_clamp_and_zero_outside(dtype, tolerance):
  gradient = run(jax.grad(lambda x, old: ratios.token(x, old).sum()), dtype, LOGP, OLD)
  inside = np.abs(LOGP - OLD) <= 20
  assert inside.any()
  assert not inside.all()
  assert_close(gradient, np.where(inside, slow_token(LOGP, OLD), 0.0), tolerance)


@both_precisions
def test_sequence_gradients_are_in_closed_form(dtype, tolerance):
  adv = exact(RNG.normal(size=(*SHAPE[:-1], 1)))
  n = np.maximum(MASK.sum(-1, keepdims=True), 1)
  expected = adv * slow_sequence(LOGP, NEAR, MASK) * MASK / n

  def whole(x, old, mask, a):
    return (a * ratios.sequence(x, old, mask)).sum()

  def per_token(x, old, mask, a):
    lengths = jnp.maximum(mask.sum(-1, keepdims=True), 1)
    return (a * ratios.sequence_token(x, old, mask) * mask / lengths).sum()

  for fn in (whole, per_token):  # an advantage that is constant in a sequence: one gradient
    gradient = run(jax.grad(fn), dtype, LOGP, NEAR, MASK, adv)
    assert_close(gradient, expected, tolerance)
    assert np.abs(expected).max() > 0


def test_without_old_logp_the_ratio_is_one_with_the_gradient_of_logp():
  logp, mask = jnp.asarray(LOGP, jnp.float32), jnp.asarray(MASK, jnp.float32)
  np.testing.assert_array_equal(ratios.token(logp), 1.0)
  np.testing.assert_array_equal(jax.grad(lambda x: ratios.token(x).sum())(logp), 1.0)
  np.testing.assert_array_equal(ratios.sequence(logp, None, mask), 1.0)
  gradient = jax.grad(lambda x: ratios.sequence(x, None, mask).sum())(logp)
  expected = MASK / np.maximum(MASK.sum(-1, keepdims=True), 1)
  np.testing.assert_allclose(gradient, expected, rtol=1e-6)
  np.testing.assert_array_equal(ratios.sequence_token(logp, None, mask), 1.0)


def test_old_logp_is_a_constant():
  x = jnp.asarray(LOGP, jnp.float32)
  for fn in (ratios.token, lambda a, b: ratios.sequence(a, b, jnp.ones_like(a))):
    np.testing.assert_array_equal(jax.grad(lambda old, fn=fn: fn(x, old).sum())(x - 0.1), 0.0)


@pytest.mark.parametrize('fn', [ratios.sequence, ratios.sequence_token])
@pytest.mark.parametrize('garbage', [np.nan, np.inf, -np.inf, 3e38, -3e38])
def test_garbage_at_masked_tokens_does_not_leak(fn, garbage):
  mask = jnp.asarray(MASK, jnp.float32)
  clean = [jnp.where(mask > 0, jnp.asarray(x, jnp.float32), 0.0) for x in (LOGP, NEAR)]
  dirty = [jnp.where(mask > 0, x, garbage) for x in clean]
  np.testing.assert_array_equal(fn(*dirty, mask), fn(*clean, mask))

  def total(logp, old):
    return fn(logp, old, mask).sum()

  gradient = jax.grad(total)(*dirty)
  np.testing.assert_array_equal(gradient, jax.grad(total)(*clean))
  np.testing.assert_array_equal(gradient[mask == 0], 0.0)
  assert np.abs(gradient).max() > 0


@pytest.mark.parametrize('fn', [ratios.sequence, ratios.sequence_token])
def test_an_empty_sequence_has_ratio_one_and_no_gradient(fn):
  logp, mask = jnp.full((2, 3), -5.0), jnp.zeros((2, 3))
  np.testing.assert_array_equal(fn(logp, logp - 9.0, mask), 1.0)
  np.testing.assert_array_equal(jax.grad(lambda x: fn(x, x - 9.0, mask).sum())(logp), 0.0)


def test_low_precision_is_subtracted_in_float32():
  logp = jnp.array([[-1.0]], jnp.bfloat16)
  assert ratios.token(logp, jnp.array([[-1.001]])).dtype == jnp.float32
  np.testing.assert_allclose(ratios.token(logp, jnp.array([[-1.001]])), np.exp(0.001), rtol=1e-6)


def test_shapes_must_agree():
  with pytest.raises(AssertionError):
    ratios.token(jnp.ones((2, 3)), jnp.ones((2, 1)))


ONE_TOKEN_GRADIENTS = [
  jax.grad(lambda a, b, m: (ratios.token(a, b) * m).sum()),
  jax.grad(lambda a, b, m: (ratios.sequence(a, b, m) * m).sum()),
  jax.grad(lambda a, b, m: (ratios.sequence_token(a, b, m) * m).sum()),
]


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.floats(-30.0, 0.0), st.floats(-30.0, 0.0), st.integers(0, 4))
def test_a_sequence_of_one_token_has_the_tokens_ratio_wherever_it_stands(logp, old, place):
  mask = np.eye(5)[place][None, :]
  x, y = exact(np.full((1, 5), logp)), exact(np.full((1, 5), old))
  expected = slow_token(x[:, :1], y[:, :1])
  assert_close(run(ratios.sequence, 'float64', x, y, mask), expected, 1e-12)
  gradients = [run(g, 'float64', x, y, mask) for g in ONE_TOKEN_GRADIENTS]
  assert_close(gradients[1], gradients[0], 1e-12)
  assert_close(gradients[2], gradients[0], 1e-12)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.integers(1, 6), st.integers(0, 2**31))
def test_padding_does_not_matter(padding, seed):
  rng = np.random.default_rng(seed)
  arrays = [-rng.random((3, 4)), -rng.random((3, 4)), random_mask(rng, (3, 4))]
  wide = [np.pad(a, ((0, 0), (0, padding))) for a in arrays]
  plain = run(ratios.sequence, 'float64', *arrays)
  assert_close(run(ratios.sequence, 'float64', *wide), plain, 1e-12)
