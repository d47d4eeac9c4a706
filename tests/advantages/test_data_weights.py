"""GRPO-S: similarity of clauses, ratios of sigmoids, running means of categories."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from parity import assert_close, both_precisions, exact, random_mask, run

from rljax import advantages

RNG = np.random.default_rng(0)
COSINE = exact(RNG.uniform(-1, 1, (6, 4, 5)))
DEMONSTRATED = random_mask(RNG, (6, 4))
GENERATED = random_mask(RNG, (6, 5))[::-1]


def slow_similarity(cosine, demonstrated, generated):
  out = []
  for c, d, g in zip(cosine, demonstrated, generated, strict=True):
    best = [
      max((c[i, j] for j in range(len(g)) if g[j]), default=0.0) for i in range(len(d)) if d[i]
    ]
    out.append(sum(best) / len(best) if best else 0.0)
  return np.array(out)


@both_precisions
def test_clause_similarity_equals_a_loop(dtype, tolerance):
  expected = slow_similarity(COSINE, DEMONSTRATED, GENERATED)
  actual = run(advantages.clause_similarity, dtype, COSINE, DEMONSTRATED, GENERATED)
  assert_close(actual, expected, tolerance, each=False)
  everything = slow_similarity(COSINE, np.ones((6, 4)), np.ones((6, 5)))
  assert_close(run(advantages.clause_similarity, dtype, COSINE), everything, tolerance, each=False)
  assert (expected < 0).any() or np.abs(expected).max() > 0.1


def test_a_similarity_without_clauses_is_0():
  cosine, some = jnp.ones((2, 3)), jnp.ones(2)
  assert advantages.clause_similarity(cosine, 0 * some) == 0
  assert advantages.clause_similarity(cosine, some, jnp.zeros(3)) == 0
  assert advantages.clause_similarity(cosine, some, jnp.ones(3)) == 1


@both_precisions
def test_the_sigmoid_ratio_equals_a_loop(dtype, tolerance):
  x, typical = exact(RNG.uniform(-60, 60, (2, 50)))
  sigmoid = [[1 / (1 + math.exp(-v)) for v in row] for row in (x, typical)]
  expected = np.array([a / b for a, b in zip(*sigmoid, strict=True)])
  assert_close(run(advantages.sigmoid_ratio, dtype, x, typical), expected, tolerance)


def test_a_typical_prompt_has_weight_1_and_a_factor_its_range():
  x = jnp.array([0.0, 0.7, 2.0])
  np.testing.assert_array_equal(advantages.sigmoid_ratio(x, x), 1.0)
  of_hardness = advantages.sigmoid_ratio(x, jnp.full(3, 0.7))
  sigmoid = 1 / (1 + np.exp(-np.array([0.0, 0.7, 2.0])))
  np.testing.assert_allclose(of_hardness, sigmoid / sigmoid[1], rtol=1e-6)


@both_precisions
def test_category_means_equal_a_loop_over_all_that_was_seen(dtype, tolerance):
  categories, seen = 4, {}
  with jax.enable_x64(dtype == 'float64'):
    zeros = jnp.zeros(categories, dtype)
    state = advantages.CategoryMeans(zeros, zeros)
    for _ in range(3):
      x = exact(RNG.normal(size=(3, 5)))
      category = RNG.integers(0, categories - 1, (3, 5))  # nobody is of the last one
      where = (RNG.random((3, 5)) < 0.6).astype(np.float64)
      for at in zip(*np.nonzero(where), strict=True):
        seen.setdefault(category[at], []).append(x[at])
      dirty = jnp.asarray(np.where(where > 0, x, np.nan), dtype)
      state = advantages.update_category_means(state, dirty, category, jnp.asarray(where))
    expected = np.array([np.mean(seen.get(c, [0.0])) for c in range(categories)])
    assert_close(state.mean, expected, tolerance)
    np.testing.assert_array_equal(state.seen, [len(seen.get(c, [])) for c in range(categories)])
    found = advantages.category_mean(state, jnp.array([2, 0, 3]), jnp.array([7.0, 8.0, 9.0], dtype))
    assert_close(found, [expected[2], expected[0], 9.0], tolerance)


def test_initial_means_are_of_nothing():
  state = advantages.init_category_means(3)
  np.testing.assert_array_equal(state.seen, np.zeros(3))
  category = jnp.array([[0, 2]])
  np.testing.assert_array_equal(
    advantages.category_mean(state, category, jnp.array([[5.0, 6.0]])), [[5.0, 6.0]]
  )
