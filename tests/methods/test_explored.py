"""Diversity, exploration and RAPO against loops in float64."""

import cases_explored
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from harness import assert_parity

from rljax import methods, shaping
from rljax.types import Batch


@pytest.mark.parametrize('name', cases_explored.CASES)
def test_loss_and_gradient_equal_loops(name):
  assert_parity(name)


def test_all_right_is_still_drawn_to_diversity_and_the_column_is_asked_for():
  batch = Batch(rewards=jnp.ones((1, 2)), extras={'correct': jnp.ones((1, 2))})
  diverse = batch.replace(extras={**batch.extras, 'diversity': jnp.array([[0.2, 0.8]])})
  _, found = methods.multirole().prepare((), diverse)
  assert found.advantages[0, 0, 0] < 0 < found.advantages[0, 1, 0]
  with pytest.raises(ValueError, match=r"needs batch.extras\['diversity'\], how diverse"):
    methods.multirole().prepare((), batch)


def of_wide_features(method, state):
  """The rewards after two rollout batches of features that are projected."""
  rng = np.random.default_rng(0)
  h = jnp.float32(rng.normal(size=(2, 4, 40)))
  correct = jnp.array([[1.0, 0.0, 0.0, 1.0], [0.0] * 4])
  batch = Batch(rewards=correct, extras={'correct': correct, 'old_mean_hidden': h})
  state, first = method.prepare(state, batch)
  _, second = method.prepare(state, batch)
  return h, correct, first.rewards, second.rewards


def test_a_projection_is_drawn_for_each_rollout_batch_and_failed_groups_have_no_bonus():
  method = methods.repexp(beta=2.0, dimensions=6, seed=3)
  h, correct, *found = of_wide_features(method, method.init())
  for step, rewards in enumerate(found):
    key = jax.random.fold_in(jax.random.key(3), step)
    x = shaping.sparse_projection(key, h, dimensions=6)
    x = x - x.mean(1, keepdims=True)
    expected = correct + 2.0 * shaping.repexp_bonus(x) * jnp.array([[1.0], [0.0]])
    np.testing.assert_allclose(rewards, expected, rtol=1e-4)
  assert (np.asarray(found[0])[0] != np.asarray(found[1])[0]).all()


def test_the_feature_is_the_mean_activation_of_a_completion():
  fn = methods.repexp().features['mean_hidden']
  x = jnp.arange(12.0).reshape(4, 3)
  np.testing.assert_array_equal(fn(x, jnp.array([1.0, 1.0, 0.0, 0.0])), [1.5, 2.5, 3.5])
  np.testing.assert_array_equal(fn(x, jnp.zeros(4)), np.zeros(3))
  assert methods.repexp().reads == ('mean_hidden',)
