"""RepExp: the bonus against explicit inverses, the greedy selection, the projection."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import assert_close, both_precisions, exact, random_mask, run

from rljax import shaping
from rljax.groups import per_group
from rljax.types import Batch

RNG = np.random.default_rng(0)
FEATURES = exact(RNG.normal(size=(6, 5, 3)))
FEATURES[3] = FEATURES[3, 0]  # equal
FEATURES[4, 2] = 0.0
WHERE = random_mask(RNG, (6, 5))
WIDE = exact(RNG.normal(size=(2, 4, 9)))


def slow(features, where, lam):
  """By explicit inverses of covariances, one group after the other."""
  found = np.zeros(where.shape)
  for p in range(len(features)):
    members = [g for g in range(where.shape[1]) if where[p, g]]
    sigma = lam * np.eye(features.shape[-1])
    for g in members:
      sigma += np.outer(features[p, g], features[p, g])
    inverse = np.linalg.inv(sigma)
    for g in members:
      found[p, g] = features[p, g] @ inverse @ features[p, g]
  return found


@both_precisions
@pytest.mark.parametrize('lam', [0.01, 2.0])
def test_the_bonus_equals_a_loop(dtype, tolerance, lam):
  dirty = np.where(WHERE[..., None] > 0, FEATURES, np.nan)
  actual = run(lambda h, w: shaping.repexp_bonus(h, w, lam=lam), dtype, dirty, WHERE)
  assert_close(actual, slow(FEATURES, WHERE, lam), tolerance)
  actual = run(lambda h: shaping.repexp_bonus(h, lam=lam), dtype, WIDE)
  assert_close(actual, slow(WIDE, np.ones((2, 4)), lam), tolerance)


def test_equal_features_a_zero_and_one_alone():
  h = jnp.array([[[3.0, 4.0]] * 4])
  np.testing.assert_allclose(shaping.repexp_bonus(h, lam=0.5), 1 / (4 + 0.5 / 25), rtol=1e-6)
  far = 1e4 * h  # the covariance of these has a condition number of 1e12
  np.testing.assert_allclose(shaping.repexp_bonus(far, lam=0.01), 0.25, rtol=1e-5)
  np.testing.assert_array_equal(shaping.repexp_bonus(0 * h), 0.0)
  np.testing.assert_allclose(shaping.repexp_bonus(h[:, :1], lam=1.0), [[25 / 26]], rtol=1e-6)


def test_the_bonus_has_no_gradient_and_needs_a_ridge():
  h = jnp.float32(WIDE)
  assert (jax.grad(lambda h: shaping.repexp_bonus(h).sum())(h) == 0).all()
  for fn in (shaping.repexp_bonus, lambda h, lam: shaping.repexp_select(h, count=1, lam=lam)):
    with pytest.raises(ValueError, match=r'lam is 0.0; it must be positive'):
      fn(h, lam=0.0)


def test_the_bonus_in_interleaved_rows():
  group = np.array([0, 1, 0, 2, 1, 0, 2, 1, 0])
  h = exact(RNG.normal(size=(9, 3)))
  rows = Batch(group=jnp.asarray(group), group_shape=(3, 4))
  found = per_group(shaping.repexp_bonus, rows)(jnp.float32(h))
  for g in range(3):
    own = h[group == g][None]
    expected = slow(own, np.ones(own.shape[:2]), 0.01)[0]
    np.testing.assert_allclose(np.asarray(found)[group == g], expected, rtol=1e-5)


def slow_select(features, where, count, lam):
  left = [i for i in range(len(features)) if where[i]]
  inverse, chosen = np.eye(features.shape[1]) / lam, []
  for _ in range(count):
    if not left:
      chosen.append(-1)
      continue
    best = max(left, key=lambda i: features[i] @ inverse @ features[i])  # the first of equal ones
    h = inverse @ features[best]
    inverse = inverse - np.outer(h, h) / (1 + features[best] @ h)
    left.remove(best)
    chosen.append(best)
  return chosen


@pytest.mark.parametrize('lam', [0.1, 3.0])
def test_the_selection_equals_a_loop(lam):
  features, where = exact(RNG.normal(size=(6, 7, 4))), random_mask(RNG, (6, 7))
  features[3, 5] = features[3, 2]
  expected = [slow_select(h, w, 5, lam) for h, w in zip(features, where, strict=True)]
  select = jax.jit(lambda h, w: shaping.repexp_select(h, w, count=5, lam=lam))
  actual = select(jnp.where(where[..., None] > 0, jnp.float32(features), jnp.nan), where)
  np.testing.assert_array_equal(actual, expected)
  assert actual[1].tolist() == [-1] * 5 and (actual[2, 1:] == -1).all()


def test_the_projection_is_sparse_linear_and_keeps_lengths_on_average():
  eye = jnp.eye(400)
  matrix = np.asarray(shaping.sparse_projection(jax.random.key(0), eye, dimensions=64))
  size = np.sqrt(np.sqrt(400) / 64)
  values = np.unique(np.round(matrix / size, 5))
  np.testing.assert_array_equal(values, [-1.0, 0.0, 1.0])
  assert abs((matrix > 0).mean() - 1 / 40) < 4e-3 and abs((matrix < 0).mean() - 1 / 40) < 4e-3
  np.testing.assert_allclose((matrix**2).sum(-1).mean(), 1.0, rtol=0.05)
  x = jnp.float32(RNG.normal(size=(2, 3, 400)))
  found = shaping.sparse_projection(jax.random.key(0), x, dimensions=64)
  np.testing.assert_allclose(found, np.asarray(x) @ matrix, rtol=1e-4, atol=1e-4)
  other = shaping.sparse_projection(jax.random.key(1), eye, dimensions=64)
  assert (np.asarray(other) != matrix).any()
