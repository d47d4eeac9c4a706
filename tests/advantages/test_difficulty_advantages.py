"""DGPO and A-GRAE: advantages that look at how hard a prompt is."""

import functools
import math

import jax.numpy as jnp
import numpy as np
import pytest
from grouped import LENGTHS, REWARDS, SUCCESS, check, each
from parity import both_precisions

from rljax import advantages


def slow_over_mean_deviation(rewards, eps=1e-4):
  if min(rewards) == max(rewards):
    return [0.0] * len(rewards)
  mean = sum(rewards) / len(rewards)
  extent = sum(abs(r - mean) for r in rewards)
  return [len(rewards) * (r - mean) / (extent + eps) for r in rewards]


def is_valid(group):
  return len(group[0]) > 1 and min(group[0]) < max(group[0])


def slow_difficulty_weights(groups, tau=2.0):
  scores = {}
  for p, group in enumerate(groups):
    if is_valid(group):
      rate = sum(group[1]) / len(group[1])
      scores[p] = math.exp(-(rate if rate else 1.0) / tau)
  weights = {p: len(scores) * s / sum(scores.values()) for p, s in scores.items()}
  return [[weights.get(p, 1.0)] * len(group[0]) for p, group in enumerate(groups)]


def slow_correction(groups):
  valid = sum(sum(g[-1]) for g in groups if is_valid(g))
  return sum(sum(g[-1]) for g in groups) / valid if valid else 1.0


def slow_dgpo(groups, tau=2.0, eps=1e-4):
  weights, correction = slow_difficulty_weights(groups, tau), slow_correction(groups)
  return [
    [a * w[0] * correction for a in slow_over_mean_deviation(g[0], eps)] if g[0] else []
    for g, w in zip(groups, weights, strict=True)
  ]


def slow_a_grae(groups, alpha=1.0, ddof=1, released=False, eps=1e-6):
  successes = [s for g in groups for s in g[1]]
  omega = sum(successes) / len(successes)
  out = []
  for rewards, success in groups:
    n = len(rewards)
    if n < 2 or min(rewards) == max(rewards):
      out.append([0.0] * n)
      continue
    mean, p = sum(rewards) / n, sum(success) / n
    deviation = math.sqrt(sum((r - mean) ** 2 for r in rewards) / (n - ddof))
    row = []
    for r in rewards:
      a = (r - mean) / (deviation + eps)
      if 0 < p < 1:
        hard = math.sqrt(p) + (eps if released else 0.0)
        easy = 1 - math.sqrt(p) + eps if released else math.sqrt(1 - p)
        a = omega * 0.5 * a / hard + (1 - omega) * 0.5 * a / easy
      row.append(a * min(1.0, omega / alpha) if a > 0 else a)
    out.append(row)
  return out


@both_precisions
def test_over_mean_deviation_equals_a_loop(dtype, tolerance):
  check(dtype, tolerance, advantages.over_mean_deviation, each(slow_over_mean_deviation), REWARDS)


@both_precisions
def test_difficulty_weights_equal_a_loop(dtype, tolerance):
  fn = functools.partial(advantages.difficulty_weights, tau=0.5)
  slow = functools.partial(slow_difficulty_weights, tau=0.5)
  check(dtype, tolerance, fn, slow, REWARDS, SUCCESS)


@both_precisions
def test_dgpo_equals_a_loop(dtype, tolerance):
  check(dtype, tolerance, advantages.dgpo, slow_dgpo, REWARDS, SUCCESS, LENGTHS)


@both_precisions
@pytest.mark.parametrize('released', [False, True])
def test_a_grae_equals_a_loop(dtype, tolerance, released):
  estimate = advantages.a_grae_released if released else advantages.a_grae

  def fn(rewards, success, where):
    return estimate(rewards, where, success=success, alpha=0.7)

  slow = functools.partial(slow_a_grae, alpha=0.7, released=released)
  check(dtype, tolerance, fn, slow, REWARDS, SUCCESS)


def test_every_valid_group_of_dgpo_pulls_alike():
  rewards = jnp.array([[1.0, 0, 0, 0, 0, 0, 0, 0], [1.0, 1, 1, 1, 0, 0, 0, 0], [1.0] * 8])
  found = advantages.over_mean_deviation(rewards, eps=0.0)
  np.testing.assert_allclose(jnp.abs(found).sum(-1), [8.0, 8.0, 0.0], rtol=1e-6)


def test_weights_have_mean_one_over_valid_groups_and_are_one_on_others():
  success = jnp.array([[1.0, 0, 0, 0], [1.0, 1, 1, 0], [1.0, 1, 1, 1]])
  found = advantages.difficulty_weights(success, success)
  e = [math.exp(-0.25 / 2), math.exp(-0.75 / 2)]
  np.testing.assert_allclose(found[:, 0], [2 * e[0] / sum(e), 2 * e[1] / sum(e), 1], rtol=1e-6)
  assert float(found[0, 0] + found[1, 0]) == pytest.approx(2)


def test_a_valid_group_of_wrong_answers_weighs_like_one_of_right_answers():
  rewards = jnp.array([[0.1, 0.0], [1.1, 1.0], [1.0, 0.0]])
  accuracy = jnp.array([[0.0, 0.0], [1.0, 1.0], [1.0, 0.0]])
  found = advantages.difficulty_weights(rewards, accuracy)
  assert float(found[0, 0]) == float(found[1, 0]) < float(found[2, 0])


def test_no_valid_group_has_weights_and_correction_one_and_advantages_zero():
  rewards, lengths = jnp.full((2, 3), 0.1), jnp.ones((2, 3))
  np.testing.assert_array_equal(advantages.difficulty_weights(rewards, rewards), 1.0)
  np.testing.assert_array_equal(advantages.valid_token_correction(rewards, lengths), 1.0)
  np.testing.assert_array_equal(advantages.dgpo(rewards, rewards, lengths), 0.0)


def test_the_correction_turns_the_mean_over_tokens_into_that_over_valid_ones():
  rewards = jnp.array([[1.0, 0.0], [1.0, 1.0]])
  lengths = jnp.array([[2.0, 3.0], [4.0, 6.0]])
  np.testing.assert_allclose(advantages.valid_token_correction(rewards, lengths), 3.0)


def test_a_grae_by_hand():
  rewards = jnp.array([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0]])  # omega 1/2
  found = advantages.a_grae(rewards, eps=0.0)
  factor = 0.25 / math.sqrt(0.25) + 0.25 / math.sqrt(0.75)
  np.testing.assert_allclose(found[0], [0.75 * factor] + [-0.5 * factor] * 3, rtol=1e-6)
  np.testing.assert_allclose(found[1, :3], 0.25 * factor, rtol=1e-6)  # halved: omega / alpha
  generous = advantages.a_grae(rewards, eps=0.0, alpha=0.5)
  np.testing.assert_allclose(generous[0, 0], 1.5 * factor, rtol=1e-6)
  np.testing.assert_allclose(generous[0, 1:], found[0, 1:], rtol=1e-6)


def test_paper_and_code_of_a_grae_differ_most_for_easy_prompts():
  rewards = jnp.ones((1, 10)).at[0, 0].set(0.0)  # p 0.9
  kwargs = {'omega': jnp.float32(0.0), 'eps': 0.0}  # the easy term alone
  ratio = advantages.a_grae_released(rewards, **kwargs) / advantages.a_grae(rewards, **kwargs)
  expected = math.sqrt(0.1) / (1 - math.sqrt(0.9))
  assert expected == pytest.approx(6.2, abs=0.1)
  np.testing.assert_allclose(ratio[0, 0], expected, rtol=1e-4)


@pytest.mark.parametrize('fn', [advantages.a_grae, advantages.a_grae_released])
def test_a_grae_of_a_batch_without_success_and_of_single_samples_is_zero(fn):
  np.testing.assert_array_equal(fn(jnp.zeros((2, 3))), 0.0)
  np.testing.assert_array_equal(fn(jnp.array([[1.0], [0.0]])), 0.0)


def test_a_grae_does_not_reweight_where_all_succeed_or_none():
  rewards = jnp.array([[1.1, 1.0, 1.0], [0.1, 0.0, 0.0], [1.0, 0.0, 0.0]])
  success = jnp.array([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
  found = advantages.a_grae(rewards, success=success, omega=jnp.float32(1.0))
  plain = advantages.grpo(rewards)
  np.testing.assert_allclose(found[:2], plain[:2], rtol=1e-6)
  assert abs(float(found[2, 1] - plain[2, 1])) > 0.01
