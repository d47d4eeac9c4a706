"""The subset of the largest variance against all subsets."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import both_precisions, exact, run

from rljax import selection


@both_precisions
@pytest.mark.parametrize('size', [1, 2, 3, 4, 6, 8, 20])
def test_no_other_subset_has_a_larger_variance(dtype, tolerance, size):
  rng = np.random.default_rng(size)
  for seed in range(4):
    values = exact(rng.normal(rng.normal(0, 5), 1, (2, 4)))
    values[:, 0] = exact(0.1)  # ties
    where = np.ones((2, 4)) if seed % 2 else (rng.random((2, 4)) < 0.8).astype(float)
    found = run(lambda v, w: selection.max_variance(v, w, size=size), dtype, values, where)
    real = values[where > 0]
    wanted = min(size, len(real))
    assert found.sum() == wanted and (found[where == 0] == 0).all()
    best = max(np.var(subset) for subset in itertools.combinations(real, wanted))
    assert np.var(values[found > 0]) >= best * (1 - max(tolerance, 1e-9)) - 1e-12


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
  values=st.lists(st.sampled_from([-1.5, -0.5, 0.0, 0.1, 1.0]), min_size=6, max_size=6),
  size=st.integers(0, 6),
)
def test_ties_do_not_cost_variance(values, size):
  found = jax.jit(lambda v, n: selection.max_variance(v, size=n))(jnp.array(values), size)
  assert found.sum() == size
  if size:
    best = max(np.var(subset) for subset in itertools.combinations(values, size))
    assert np.var(np.array(values)[np.asarray(found) > 0]) >= best - 1e-5


def test_equal_values_give_the_first_and_size_may_be_traced():
  found = jax.jit(lambda n: selection.max_variance(jnp.full(5, 0.1), size=n))(jnp.int32(2))
  np.testing.assert_array_equal(found, [1, 1, 0, 0, 0])


def test_nobody_to_choose_from():
  found = selection.max_variance(jnp.full(3, jnp.nan), jnp.zeros(3), size=2)
  np.testing.assert_array_equal(found, 0)
