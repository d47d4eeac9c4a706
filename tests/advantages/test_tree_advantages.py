import jax.numpy as jnp
import numpy as np
import pytest
from parity import assert_close, both_precisions, exact, run

from rljax import advantages


def random_trees(seed):
  """Parents and leaf rewards of three trees of uneven depth, in shuffled order."""
  rng = np.random.default_rng(seed)
  parent = [-1, -1, -1]
  for node in range(3, 40):
    parent.append(int(rng.integers(max(0, node - 12), node)))
  order = rng.permutation(len(parent))
  place = np.argsort(order)
  shuffled = np.array([-1 if parent[i] < 0 else place[parent[i]] for i in order])
  return shuffled, exact(rng.choice([0.0, 1.0, 0.1], len(parent)))


def slow_values(rewards, parent):
  """Values by recursion, and for each node the list of its children."""
  children = {i: [j for j, p in enumerate(parent) if p == i] for i in range(len(parent))}

  def value(node):
    below = [value(child) for child in children[node]]
    if not below:
      return float(rewards[node])
    return below[0] if len(set(below)) == 1 else sum(below) / len(below)

  return [value(i) for i in range(len(parent))], children


def slow_advantages(rewards, parent, eps=None):
  values, children = slow_values(rewards, parent)
  found = []
  for i, p in enumerate(parent):
    rise = 0.0 if p < 0 else values[i] - values[p]
    if eps is not None and p >= 0:
      siblings = [values[j] for j in children[p]]
      mean = values[p]
      rise /= np.sqrt(sum((v - mean) ** 2 for v in siblings) / len(siblings)) + eps
    found.append(rise)
  return np.array(found)


@both_precisions
@pytest.mark.parametrize('seed', range(3))
def test_values_equal_a_recursion(dtype, tolerance, seed):
  parent, rewards = random_trees(seed)
  values, children = slow_values(rewards, parent)
  garbage = np.where([bool(children[i]) for i in range(len(parent))], np.nan, rewards)
  assert np.isnan(garbage).any()  # what stands at inner nodes is not read
  assert_close(run(advantages.tree_values, dtype, garbage, parent), values, tolerance)


@both_precisions
@pytest.mark.parametrize('seed', range(3))
def test_edges_equal_a_loop(dtype, tolerance, seed):
  parent, rewards = random_trees(seed)
  expected = slow_advantages(rewards, parent)
  assert np.abs(expected).max() > 0.1
  assert_close(run(advantages.spo_tree, dtype, rewards, parent), expected, tolerance, each=False)
  scaled = run(advantages.spo_tree_scaled, dtype, rewards, parent)
  assert_close(scaled, slow_advantages(rewards, parent, 1e-8), tolerance, each=False)


def test_a_tree_by_hand():
  # The root has three children; the first has two leaves below it, the others ended early.
  parent = jnp.array([-1, 0, 0, 0, 1, 1])
  rewards = jnp.array([0.0, 0.0, 1.0, 0.0, 1.0, 0.0])
  np.testing.assert_allclose(advantages.tree_values(rewards, parent), [0.5, 0.5, 1, 0, 1, 0])
  np.testing.assert_allclose(advantages.spo_tree(rewards, parent), [0, 0, 0.5, -0.5, 0.5, -0.5])
  deviations = advantages.tree_deviations(advantages.tree_values(rewards, parent), parent)
  np.testing.assert_allclose(deviations, [np.sqrt(1 / 6), 0.5, 0, 0, 0, 0], rtol=1e-6)


@pytest.mark.parametrize('fn', [advantages.spo_tree, advantages.spo_tree_scaled])
@pytest.mark.parametrize('value', [0.0, 0.1, 1 / 3, 1.0])
def test_equal_children_and_only_children_give_exactly_zero(fn, value):
  equal = fn(jnp.full((8,), value), jnp.array([-1, 0, 0, 0, 1, 1, 1, 2]))
  np.testing.assert_array_equal(equal, 0.0)
  chain = fn(jnp.full((4,), value), jnp.array([-1, 0, 1, 2]))
  np.testing.assert_array_equal(chain, 0.0)


def test_a_node_alone_is_its_own_value():
  np.testing.assert_array_equal(advantages.tree_values(jnp.array([0.25]), jnp.array([-1])), [0.25])
