"""Ranks of recommendations, noise of whole groups, calibration, the cost of asked models."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import assert_close, both_precisions, exact, random_mask, run

from rljax import advantages, shaping
from rljax.groups import per_group
from rljax.types import Batch

RNG = np.random.default_rng(6)
P, G = 8, 6
HIT = (RNG.random((P, G)) < 0.3).astype(np.float64)
HIT[3], HIT[4], HIT[5] = 0.0, 1.0, [0, 0, 1, 0, 0, 0]
WHERE = random_mask(RNG, (P, G))
WHERE[3:6] = 1.0


def slow_rere(hit, where):
  out = np.zeros(hit.shape)
  for p in range(len(hit)):
    beams = [g for g in range(hit.shape[1]) if where[p, g]]
    discounts = [1 / math.log2(k + 2) for k in range(len(beams))]
    if any(hit[p, g] for g in beams):
      for g, d in zip(beams, discounts, strict=True):
        out[p, g] = 1.0 if hit[p, g] else -d / sum(discounts)
  return out


@both_precisions
def test_rewards_of_beams_equal_a_loop(dtype, tolerance):
  dirty = np.where(WHERE > 0, HIT, np.nan)
  assert_close(run(shaping.rere, dtype, dirty, WHERE), slow_rere(HIT, WHERE), tolerance)
  assert_close(run(shaping.rere, dtype, HIT), slow_rere(HIT, np.ones((P, G))), tolerance)


def test_a_group_without_a_hit_teaches_nothing_and_likely_misses_cost_most():
  rewards = shaping.rere(jnp.array([[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]))
  np.testing.assert_array_equal(rewards[0], 0.0)
  assert (np.diff(rewards[1]) > 0).all() and rewards[1, 3] == 1
  (advantage, _) = advantages.grpo(rewards, eps=1e-4)
  np.testing.assert_array_equal(advantage, 0.0)


def test_beams_are_counted_within_interleaved_groups():
  group = np.array([0, 1, 2, 0, 1, 2, 0, 1, 0])
  hit = np.array([0, 0, 1, 1, 0, 0, 0, 1, 0.0])
  batch = Batch(group=jnp.asarray(group), group_shape=(3, 4))
  found = jax.jit(per_group(shaping.rere, batch))(jnp.float32(hit))
  for g in range(3):
    rows = np.flatnonzero(group == g)
    expected = slow_rere(hit[rows][None], np.ones((1, len(rows))))[0]
    np.testing.assert_allclose(found[rows], expected, rtol=1e-6)


@pytest.mark.parametrize('probability', [0.0, 0.3, 1.0])
def test_a_coin_flips_a_whole_group_or_none_of_it(probability):
  correct = jnp.asarray(RNG.integers(0, 2, (2000, 4)), jnp.float32)
  where = jnp.asarray(RNG.integers(0, 2, (2000, 4)), jnp.float32).at[:, 0].set(1.0)
  flip = functools.partial(shaping.group_flip, probability=probability)
  found = np.asarray(flip(jax.random.key(1), correct, where))
  changed = (found != correct) & (where > 0)
  np.testing.assert_array_equal(changed, changed[:, :1] & (np.asarray(where) > 0))
  np.testing.assert_allclose(changed[:, 0].mean(), probability, atol=0.05)
  assert (found[np.asarray(where) == 0] == 0).all()
  whole = np.asarray(flip(jax.random.key(1), correct))
  assert (whole[changed[:, 0]] == 1 - np.asarray(correct)[changed[:, 0]]).all()


def test_a_flipped_group_has_its_advantages_negated():
  correct = jnp.array([[1.0, 0.0, 0.0, 1.0, 0.0]])
  flipped = shaping.group_flip(jax.random.key(0), correct, probability=1.0)
  np.testing.assert_allclose(advantages.grpo(flipped), -advantages.grpo(correct), rtol=1e-6)


@both_precisions
def test_calibration_equals_a_loop(dtype, tolerance):
  score, pattern = exact(RNG.uniform(-1, 1, 50)), exact(RNG.uniform(0, 1, 50))
  score[:3], pattern[:3] = [0.5, 0.4375, 0.45], [1.0, 1.0, 8.0]
  expected = [min(1, s + 0.1 * r) if s < 0.5 else s for s, r in zip(score, pattern, strict=True)]
  assert expected[0] == 0.5 and expected[2] == 1.0
  assert_close(run(shaping.rpr_calibrate, dtype, score, pattern), expected, tolerance)


class Window:
  """The costs that were seen, as numbers in a list."""

  def __init__(self, size):
    self.size, self.roots = size, []

  def score(self, cost):
    root = math.sqrt(cost)
    if not self.roots:
      return 0.5
    low, high = np.percentile(self.roots, [5, 95])
    if high - low < 1e-8:
      return 0.5
    return 1 - min(max((root - low) / (high - low), 0), 1)

  def push(self, costs):
    self.roots = (self.roots + [math.sqrt(c) for c in costs])[-self.size :]


@both_precisions
@pytest.mark.parametrize('size', [1, 7, 40])
def test_savings_equal_a_list_of_the_last_costs(size, dtype, tolerance):
  with jax.enable_x64(dtype == 'float64'):
    controller = shaping.router_savings(window=size)
    state, window = controller.init(), Window(size)
    update = jax.jit(controller.update)
    for seed in range(9):
      costs = exact(np.random.default_rng(seed).exponential(3.0, 12))
      state, found = update(state, jnp.asarray(costs.reshape(3, 4), dtype))
      assert found.dtype == dtype
      expected = np.reshape([window.score(c) for c in costs], (3, 4))
      window.push(costs)
      # A difference to a quantile cancels.
      np.testing.assert_allclose(found, expected, rtol=0, atol=10 * tolerance)
  assert (expected > 0).any() or size == 1


def test_the_first_batch_and_equal_costs_are_worth_one_half():
  controller = shaping.router_savings(window=8)
  state, first = controller.update(controller.init(), jnp.array([1.0, 100.0]))
  np.testing.assert_array_equal(first, [0.5, 0.5])
  state, _ = controller.update(state, jnp.full(8, 4.0))
  _, found = controller.update(state, jnp.array([4.0, 9.0]))
  np.testing.assert_array_equal(found, [0.5, 0.5])


def test_the_order_of_a_batch_does_not_matter_to_it():
  controller = shaping.router_savings(window=16)
  state, _ = controller.update(controller.init(), jnp.arange(10.0))
  costs = jnp.array([2.0, 30.0, 0.0, 6.0])
  _, found = controller.update(state, costs)
  _, turned = controller.update(state, costs[::-1])
  np.testing.assert_array_equal(found, turned[::-1])
  assert len(set(found.tolist())) == 4 and found[2] == 1 and found[1] == 0


def test_a_window_of_no_cost_is_refused():
  with pytest.raises(ValueError, match='must be 1 at least'):
    shaping.router_savings(window=0)


@both_precisions
def test_the_routers_reward_equals_a_loop(dtype, tolerance):
  outcome = exact(RNG.choice([0.0, 0.3, 1.0], 60))
  savings, formed = exact(RNG.uniform(0, 1, 60)), RNG.integers(0, 2, 60) * 1.0
  expected = []
  for o, q, ok in zip(outcome, savings, formed, strict=True):
    expected.append(-1.0 if not ok else 0.0 if o == 0 else 0.6 * o + 0.4 * q)
  fn = functools.partial(shaping.router_r1, alpha=0.4)
  assert_close(run(fn, dtype, outcome, savings, formed), expected, tolerance)
  alone = shaping.router_r1(jnp.array(0.3), jnp.array(0.9), jnp.array(1.0))
  assert alone == np.float32(0.3)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 100), min_size=4, max_size=4))
def test_who_costs_more_never_saves_more(costs):
  controller = shaping.router_savings(window=8)
  state, _ = controller.update(controller.init(), jnp.arange(8.0) ** 2)
  _, found = controller.update(state, jnp.sort(jnp.float32(costs)))
  assert (np.diff(found) <= 0).all() and (found >= 0).all() and (found <= 1).all()
