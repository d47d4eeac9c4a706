"""VeRPO: weights of tests, rewards of turns and rollouts, advantages of both."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from parity import assert_close, both_precisions, exact, run

from rljax import advantages, shaping
from rljax.groups import per_group
from rljax.types import Batch

RNG = np.random.default_rng(3)
P, G, S, U = 6, 4, 3, 5
PASSES = (RNG.random((P, G, S, U)) < 0.4).astype(np.float64)
TURNS = RNG.integers(1, S + 1, (P, G))
TESTS = RNG.integers(1, U + 1, P)
WHERE = np.ones((P, G))
WHERE[1] = [1, 0, 1, 1]  # with a gap
WHERE[2] = 0.0
WHERE[3] = [0, 1, 0, 0]  # alone
PASSES[4] = 0.0  # nothing passes
PASSES[5] = 1.0  # all tests alike
for p, g in np.ndindex(P, G):
  PASSES[p, g, TURNS[p, g] :] = -1.0
  PASSES[p, g, :, TESTS[p] :] = -1.0
SOLVED = (RNG.random((P, G)) < 0.5).astype(np.float64)
REWARDS = exact(RNG.uniform(0, 1, (P, G, S)))
NUMBERS = {'alpha': 1.5, 'sigma': 0.25, 'delta': 0.01}


def slow_weights(p, where, alpha, sigma, delta):
  turns = [(g, s) for g in range(G) if where[p, g] for s in range(TURNS[p, g])]
  if not turns:
    return [0.0] * U
  rho = [sum(PASSES[p, g, s, j] for g, s in turns) / len(turns) for j in range(TESTS[p])]
  weights = []
  for r in rho:
    density = sum(math.exp(-((r - other) ** 2) / (2 * sigma**2)) for other in rho)
    weights.append(math.exp(-alpha * r) / (density + delta))
  return weights + [0.0] * (U - TESTS[p])


def slow_turns(where):
  out = np.zeros((P, G, S))
  for p, g in np.ndindex(P, G):
    weights = slow_weights(p, where, **NUMBERS)
    for s in range(TURNS[p, g]):
      if where[p, g]:
        out[p, g, s] = sum(w for w, ok in zip(weights, PASSES[p, g, s], strict=True) if ok == 1)
  return out


def slow_advantages(outcomes, rewards, where, beta):
  out = np.zeros((P, G, S))
  for p in range(P):
    members = [g for g in range(G) if where[p, g]]
    turns = [(g, s) for g in members for s in range(TURNS[p, g])]
    for g, s in turns:
      trajectory = outcomes[p, g] - sum(outcomes[p, h] for h in members) / len(members)
      turn = rewards[p, g, s] - sum(rewards[p, h, t] for h, t in turns) / len(turns)
      out[p, g, s] = trajectory + beta * turn
  return out


@both_precisions
def test_weights_of_tests_equal_a_loop(dtype, tolerance):
  weights = functools.partial(shaping.verpo_weights, **NUMBERS)
  expected = [slow_weights(p, WHERE, **NUMBERS) for p in range(P)]
  assert_close(run(weights, dtype, PASSES, WHERE), expected, tolerance)
  everyone = [slow_weights(p, np.ones((P, G)), **NUMBERS) for p in range(P)]
  assert_close(run(weights, dtype, PASSES), everyone, tolerance)


@both_precisions
def test_rewards_of_turns_equal_a_loop(dtype, tolerance):
  turns = functools.partial(shaping.verpo_turns, **NUMBERS)
  assert_close(run(turns, dtype, PASSES, WHERE), slow_turns(WHERE), tolerance)
  outcome = functools.partial(shaping.verpo_outcome, gamma=0.75)
  expected = np.where(SOLVED > 0, 0.75**TURNS, 0.0)
  assert_close(run(outcome, dtype, SOLVED, TURNS.astype(np.float64)), expected, tolerance)


@both_precisions
def test_advantages_of_turns_equal_a_loop(dtype, tolerance):
  real = np.arange(S) < TURNS[..., None]
  estimate = functools.partial(advantages.verpo, beta=0.5)
  dirty = np.where(real & (WHERE > 0)[..., None], REWARDS, np.nan)
  found = run(estimate, dtype, np.where(WHERE > 0, SOLVED, np.nan), dirty, real * 1.0, WHERE)
  expected = slow_advantages(SOLVED, REWARDS, WHERE, 0.5)
  assert_close(found, expected, tolerance, each=False)


def test_rows_of_interleaved_groups_are_weighed_by_their_own_tests():
  group = np.array([0, 1, 2, 0, 1, 2, 0, 1, 0])
  passes = jnp.float32(RNG.integers(-1, 2, (9, S, U)))
  turns = functools.partial(shaping.verpo_turns, **NUMBERS)
  batch = Batch(group=jnp.asarray(group), group_shape=(3, 4))
  found = jax.jit(per_group(turns, batch))(passes)
  for g in range(3):
    rows = np.flatnonzero(group == g)
    alone = jax.jit(turns)(passes[rows][None])
    np.testing.assert_allclose(found[rows], alone[0], rtol=1e-6)


def test_tests_that_are_all_alike_weigh_the_same():
  weights = shaping.verpo_weights(jnp.ones((1, 3, 1, 4)), alpha=1.0, sigma=0.1, delta=0.0)
  np.testing.assert_allclose(weights, np.full((1, 4), math.exp(-1) / 4), rtol=1e-6)


def test_where_nothing_passes_the_turns_have_no_advantage():
  rewards = shaping.verpo_turns(jnp.zeros((1, 3, 2, 4)), alpha=1.0, sigma=0.1, delta=0.1)
  found = advantages.verpo(jnp.array([[1.0, 0.0, 0.5]]), rewards, jnp.ones((1, 3, 2)), beta=9.0)
  np.testing.assert_array_equal(found, [[[0.5, 0.5], [-0.5, -0.5], [0.0, 0.0]]])


def test_a_rare_test_weighs_more_than_a_common_one_and_a_crowd_shares():
  passes = jnp.array([[[[1.0, 0.0, 1.0, 1.0]], [[1.0, 1.0, 1.0, 1.0]]]])
  (weights,) = shaping.verpo_weights(passes, alpha=1.0, sigma=0.05, delta=0.0)
  assert weights[1] > 3 * weights[0] and weights[0] == weights[2] == weights[3]
