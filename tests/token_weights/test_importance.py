import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import assert_close, both_precisions, exact, random_mask, run

from rljax import token_weights

SHAPE = (2, 3, 8)
RNG = np.random.default_rng(0)
OLD = exact(-RNG.exponential(2.0, SHAPE))
FAR = exact(OLD - np.linspace(-25.0, 24.0, OLD.size).reshape(SHAPE))
NEAR = exact(OLD + 0.3 * RNG.normal(size=SHAPE))
MASK = random_mask(RNG, SHAPE)
ADV = exact(RNG.normal(size=(2, 3, 1)))


def slow(level, behavior):
  out = np.zeros(SHAPE)
  for i in np.ndindex(SHAPE[:-1]):
    ts = [t for t in range(SHAPE[-1]) if MASK[i][t]]
    d = {t: OLD[i][t] - behavior[i][t] for t in ts}
    total = sum(d.values())
    for t in ts:
      x = {'token': d[t], 'sequence': total, 'geometric': total / len(ts)}[level]
      out[i][t] = np.exp(min(max(x, -20.0), 20.0))
  return out


def level_fn(level):
  return getattr(token_weights, f'{level}_importance')


@both_precisions
@pytest.mark.parametrize('behavior', [FAR, NEAR], ids=['far', 'near'])
@pytest.mark.parametrize('level', ['token', 'sequence', 'geometric'])
def test_levels_equal_a_loop(dtype, tolerance, level, behavior):
  found = run(level_fn(level), dtype, OLD, behavior, MASK)
  assert_close(found, slow(level, behavior), 4 * tolerance)  # the exponent is a sum
  assert (found[MASK == 0] == 0).all()


@both_precisions
def test_bounds_equal_a_loop_and_padding_stays_zero(dtype, tolerance):
  rho = exact(slow('token', NEAR))
  cut, left = np.zeros(SHAPE), np.zeros(SHAPE)
  for i in np.ndindex(SHAPE):
    if MASK[i]:
      cut[i] = min(max(rho[i], 0.9), 1.1)
      left[i] = rho[i] if 0.9 <= rho[i] <= 1.1 else 0.0
  assert 0 < (left > 0).sum() < MASK.sum()
  for fn, expected in ((token_weights.truncated, cut), (token_weights.masked, left)):
    assert_close(run(functools.partial(fn, low=0.9, high=1.1), dtype, rho), expected, tolerance)


def test_the_bounds_themselves_are_inside():
  weights = jnp.array([[0.5, 2.0, 0.49, 2.01]])
  np.testing.assert_allclose(token_weights.masked(weights, low=0.5, high=2.0), [[0.5, 2, 0, 0]])
  np.testing.assert_array_equal(token_weights.truncated(weights)[0, 1:], [2.0, weights[0, 2], 2.0])
  for low, high in ((-0.1, 1.0), (1.0, 1.0), (2.0, 1.0)):
    with pytest.raises(ValueError, match='0 <= low < high'):
      token_weights.truncated(weights, low=low, high=high)


@both_precisions
def test_normalised_weights_have_mean_one(dtype, tolerance):
  for level in ('token', 'sequence'):
    rho = exact(slow(level, NEAR))
    real = [i for i in np.ndindex(SHAPE) if MASK[i]]
    of_tokens = sum(rho[i] for i in real) / len(real)
    found = run(token_weights.normalized_over_tokens, dtype, rho, MASK)
    assert_close(found, rho / of_tokens, tolerance)
    rows = [i for i in np.ndindex(SHAPE[:-1]) if MASK[i].any()]
    of_rows = sum(rho[i][MASK[i] > 0].mean() for i in rows) / len(rows)
    assert len(rows) < 6
    found = run(token_weights.normalized_over_sequences, dtype, rho, MASK)
    assert_close(found, rho / of_rows, tolerance)
    assert abs(of_rows - of_tokens) > 1e-4 or level == 'token'


def test_weights_that_are_all_zero_stay_so():
  zero, ones = jnp.zeros((2, 3)), jnp.ones((2, 3))
  for fn in (token_weights.normalized_over_tokens, token_weights.normalized_over_sequences):
    np.testing.assert_array_equal(fn(zero, ones), 0.0)
    np.testing.assert_array_equal(fn(zero, zero), 0.0)


@pytest.mark.parametrize('level', ['token', 'sequence', 'geometric'])
def test_an_exact_sampler_has_ones_on_the_mask_and_garbage_elsewhere_is_not_read(level):
  mask = jnp.float32(MASK)
  spoilt = jnp.where(mask > 0, jnp.float32(OLD), jnp.nan)
  np.testing.assert_array_equal(level_fn(level)(spoilt, spoilt, mask), mask)
  gradient = jax.grad(lambda x: level_fn(level)(x, spoilt, mask).sum())(spoilt)
  np.testing.assert_array_equal(gradient, 0.0)  # a constant


@both_precisions
@pytest.mark.parametrize('per_token', [False, True])
def test_the_off_policy_mask_equals_a_loop(dtype, tolerance, per_token):
  advantages = exact(RNG.normal(size=SHAPE)) if per_token else ADV
  expected = np.ones(advantages.shape)
  for i in np.ndindex(advantages.shape):
    ts = [t for t in range(SHAPE[-1]) if MASK[i[:-1]][t]]
    drift = sum(NEAR[i[:-1]][t] - OLD[i[:-1]][t] for t in ts) / max(len(ts), 1)
    expected[i] = advantages[i] >= 0 or drift <= 0.05
  assert 0 < expected.mean() < 1
  fn = functools.partial(token_weights.off_policy_mask, delta=0.05)
  assert_close(run(fn, dtype, advantages, NEAR, OLD, MASK), expected, tolerance)


def test_the_off_policy_mask_keeps_empty_sequences_and_the_bound_itself():
  logp, advantages = jnp.full((3, 2), -1.5), jnp.array([[-1.0], [-1.0], [0.0]])
  behavior = jnp.array([[-1.0, -1.0], [jnp.nan, jnp.nan], [9.0, 9.0]])
  mask = jnp.array([[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]])
  kept = token_weights.off_policy_mask(advantages, behavior, logp, mask)
  np.testing.assert_array_equal(kept, 1.0)
  kept = token_weights.off_policy_mask(advantages, behavior, logp, mask, delta=0.49)
  np.testing.assert_array_equal(kept[:, 0], [0.0, 1.0, 1.0])
