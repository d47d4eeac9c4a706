"""Advantages from several rewards, and AdaptThink's, against loops in float64."""

import math
import types

import jax.numpy as jnp
import numpy as np
import pytest
from grouped import SHAPE, WHERE
from parity import assert_close, both_precisions, exact, run

from rljax import advantages
from rljax.groups import per_group

RNG = np.random.default_rng(4)
K = 3
WEIGHTS = (1.0, 0.5, -0.25)
REWARDS = exact(RNG.choice([0.0, 1.0, 0.1], (*SHAPE, K)) * [1.0, 10.0, 1.0])
REWARDS[0, :, 0] = exact(0.1)  # a constant reward
REWARDS[RNG.random(REWARDS.shape) < 0.15] = np.nan
REWARDS[3, 1:, 2] = np.nan  # known of one member


def moments(values):
  mean = sum(values) / len(values)
  spread = sum((v - mean) ** 2 for v in values) / (len(values) - 1) if len(values) > 1 else 0.0
  return mean, math.sqrt(spread)


def slow_mrn(where):
  out = np.zeros(SHAPE)
  for p in range(SHAPE[0]):
    for k in range(K):
      members = [g for g in range(SHAPE[1]) if where[p, g] and not np.isnan(REWARDS[p, g, k])]
      values = [REWARDS[p, g, k] for g in members]
      if len(set(values)) < 2:
        continue
      mean, spread = moments(values)
      for g in members:
        out[p, g] += WEIGHTS[k] * (REWARDS[p, g, k] - mean) / (spread + 1e-4)
  return out


def slow_gdpo(where):
  combined = slow_mrn(where)
  mean, spread = moments(combined[where > 0].tolist())
  return np.where(where > 0, (combined - mean) / (spread + 1e-4), 0.0)


@both_precisions
@pytest.mark.parametrize(('name', 'slow'), [('mrn', slow_mrn), ('gdpo', slow_gdpo)])
def test_several_rewards_equal_a_loop(dtype, tolerance, name, slow):
  fn = getattr(advantages, name)
  expected = slow(WHERE)
  spoilt = np.where(WHERE[..., None] > 0, REWARDS, 99.0)
  found = run(lambda r, w: fn(r, WEIGHTS, w), dtype, spoilt, WHERE)
  assert_close(found, expected, tolerance, each=False)
  full = run(lambda r: fn(r, WEIGHTS), dtype, REWARDS)
  assert_close(full, slow(np.ones(SHAPE)), tolerance, each=False)

  members = np.argwhere(WHERE > 0)
  members = members[np.random.default_rng(0).permutation(len(members))]
  rows = types.SimpleNamespace(group=jnp.asarray(members[:, 0], jnp.int32), group_shape=SHAPE)
  at = tuple(members.T)
  in_rows = run(
    lambda r: per_group(lambda r, where: fn(r, WEIGHTS, where), rows)(r), dtype, REWARDS[at]
  )
  assert_close(in_rows, expected[at], tolerance, each=False)


@pytest.mark.parametrize('fn', [advantages.mrn, advantages.gdpo])
def test_equal_rewards_and_a_group_of_one_give_0(fn):
  for rewards in (jnp.full((2, 3, 2), 0.1), jnp.ones((3, 1, 2)), jnp.full((2, 3, 2), jnp.nan)):
    np.testing.assert_array_equal(fn(rewards, [1.0, 2.0]), 0.0)


def test_one_reward_is_grpo_and_weights_must_fit():
  rewards = jnp.asarray(RNG.normal(size=(3, 4)), jnp.float32)
  found = advantages.mrn(rewards[..., None], [1.0])
  np.testing.assert_allclose(found, advantages.grpo(rewards, eps=1e-4), rtol=1e-5)
  with pytest.raises(AssertionError):
    advantages.mrn(rewards[..., None], [1.0, 1.0])


@both_precisions
def test_standardize_equals_a_loop(dtype, tolerance):
  x, where = exact(RNG.normal(3, 2, 30)), (RNG.random(30) < 0.7).astype(np.float64)
  mean, spread = moments([v for v, w in zip(x, where, strict=True) if w])
  expected = where * (x - mean) / (spread + 1e-4)
  assert_close(run(advantages.standardize, dtype, x, where), expected, tolerance, each=False)
  np.testing.assert_array_equal(advantages.standardize(jnp.full(7, 0.1)), 0.0)


@both_precisions
def test_adaptthink_equals_its_formula(dtype, tolerance):
  rewards, reference = exact(RNG.uniform(0, 1, 20)), exact(RNG.uniform(0, 1, 20))
  unthinking = RNG.integers(0, 2, 20).astype(np.float64)
  expected = [
    (0.05 if u else 0.0) + r - b for r, u, b in zip(rewards, unthinking, reference, strict=True)
  ]
  found = run(advantages.adaptthink, dtype, rewards, unthinking, reference)
  assert_close(found, expected, tolerance, each=False)
