"""Rewards that shrink with the likelihood of an answer."""

import jax.numpy as jnp
import numpy as np
import pytest
from parity import assert_close, both_precisions, exact, random_mask, run

from rljax import advantages, shaping

RNG = np.random.default_rng(0)
SHAPE = (9, 6)
REWARDS = exact(RNG.choice([0.0, 0.1, 1.0], SHAPE))
SCORE = exact(-RNG.exponential(1.0, SHAPE))
SCORE[4] = exact(RNG.choice([-0.3, -0.7], SHAPE[1]))  # ties
WHERE = random_mask(RNG, SHAPE)


def slow(rewards, score, where, beta):
  out = np.zeros(SHAPE)
  for p in range(SHAPE[0]):
    members = [g for g in range(SHAPE[1]) if where[p, g]]
    for rank, g in enumerate(sorted(members, key=lambda g: score[p, g])):  # stable
      out[p, g] = rewards[p, g] * (1 - beta * rank / len(members))
  return out


@both_precisions
@pytest.mark.parametrize('beta', [0.25, 1.0])
def test_unlikeliness_equals_a_loop(dtype, tolerance, beta):
  expected = slow(REWARDS, SCORE, WHERE, beta)
  dirty = [np.where(WHERE > 0, x, np.nan) for x in (REWARDS, SCORE)]
  actual = run(lambda r, s, w: shaping.unlikeliness(r, s, w, beta=beta), dtype, *dirty, WHERE)
  assert_close(actual, expected, tolerance)
  full = run(lambda r, s: shaping.unlikeliness(r, s, beta=beta), dtype, REWARDS, SCORE)
  assert_close(full, slow(REWARDS, SCORE, np.ones(SHAPE), beta), tolerance)


def test_a_solved_group_is_ranked_by_rarity_and_a_failed_one_is_not():
  score = jnp.array([[-1.0, -2.0, -3.0, -4.0]] * 2)
  rewards = jnp.array([[1.0] * 4, [0.0] * 4])
  shaped = shaping.unlikeliness(rewards, score)
  np.testing.assert_allclose(shaped[0], [1 - 0.25 * 3 / 4, 0.875, 0.9375, 1.0], rtol=1e-6)
  advantage = advantages.grpo(shaped)
  assert (np.diff(advantage[0]) > 0).all()
  np.testing.assert_array_equal(advantage[1], 0.0)


def test_ties_go_by_the_order_of_samples_and_a_group_of_one_keeps_its_reward():
  shaped = shaping.unlikeliness(jnp.ones((1, 3)), jnp.full((1, 3), -0.1), beta=0.3)
  np.testing.assert_allclose(shaped, [[1.0, 0.9, 0.8]], rtol=1e-6)
  alone = shaping.unlikeliness(jnp.ones((1, 1)), jnp.zeros((1, 1)))
  np.testing.assert_array_equal(alone, [[1.0]])
