"""Agreement of answers, and groups compared with each other."""

import collections
import math

import jax.numpy as jnp
import numpy as np
import pytest
from grouped import REWARDS, RNG, SHAPE, check, each
from parity import both_precisions, exact

from rljax import advantages

ANSWERS = RNG.integers(0, 3, SHAPE).astype(np.int32)
ANSWERS[0] = [5, 4, 3, 2, 1]
ANSWERS[4] = 9


def slow_entropy(answers):
  counts = collections.Counter(answers).values()
  shares = [c / len(answers) for c in counts]
  return [-sum(q * math.log2(q + 1e-8) for q in shares)] * len(answers)


def slow_consistent(rewards, answers):
  n = len(rewards)
  factor = 1.0
  if n > 1:
    factor = 1 - (1 - 1 / n) / math.log2(n) * slow_entropy(answers)[0]
  return [sum(rewards) / n * factor] * n


def slow_between(groups):
  scores = [g[0][0] for g in groups if g[0]]
  mean = sum(scores) / len(scores)
  deviation = math.sqrt(sum((s - mean) ** 2 for s in scores) / (len(scores) - 1))
  return [[(s - mean) / (deviation + 1e-6) for s in g[0]] for g in groups]


@both_precisions
def test_the_entropy_of_answers_equals_a_loop(dtype, tolerance):
  check(dtype, tolerance, advantages.answer_entropy, each(slow_entropy), ANSWERS)


@both_precisions
@pytest.mark.parametrize('consistent', [False, True])
def test_group_scores_equal_a_loop(dtype, tolerance, consistent):
  if consistent:
    fn, slow = advantages.consistent_success_rate, slow_consistent
  else:
    fn, slow = advantages.success_rate, lambda r, _: [sum(r) / len(r)] * len(r)
  check(dtype, tolerance, fn, each(slow), REWARDS, ANSWERS)


@both_precisions
def test_scores_between_groups_equal_a_loop(dtype, tolerance):
  scores = np.repeat(exact(RNG.normal(size=(SHAPE[0], 1))), SHAPE[1], axis=1)
  check(dtype, tolerance, advantages.between_groups, slow_between, scores)


@pytest.mark.parametrize('size', [2, 4, 6])
def test_entropy_and_coefficient_at_agreement_and_at_none(size):
  answers = jnp.stack([jnp.full(size, 3), jnp.arange(size)])
  entropy = advantages.answer_entropy(answers)
  np.testing.assert_allclose(entropy, [[0.0] * size, [math.log2(size)] * size], atol=1e-6)
  found = advantages.consistent_success_rate(jnp.ones((2, size)), answers)
  np.testing.assert_allclose(found, [[1.0] * size, [1 / size] * size], rtol=1e-5)


def test_a_group_of_one_has_no_entropy_and_coefficient_one():
  answers, rewards = jnp.array([[4], [7]]), jnp.array([[1.0], [0.5]])
  np.testing.assert_array_equal(advantages.answer_entropy(answers), 0.0)
  np.testing.assert_array_equal(advantages.consistent_success_rate(rewards, answers), rewards)


def test_one_group_and_equal_groups_give_exactly_zero_between_groups():
  np.testing.assert_array_equal(advantages.between_groups(jnp.ones((1, 3))), 0.0)
  # 0.1 on average in groups of three and of two: their means in float32 differ.
  rewards, where = jnp.full((2, 3), 0.1), jnp.ones((2, 3)).at[1, 2].set(0.0)
  scores = advantages.success_rate(rewards, None, where)
  np.testing.assert_array_equal(advantages.between_groups(scores, where), 0.0)


def test_the_weight_is_zero_for_wrong_answers_and_small_where_all_agree():
  found = advantages.local_weight(jnp.array([1.0, 1.0, 0.0]), jnp.array([0.0, 2.0, 2.0]))
  expected = [1 / (1 + math.exp(5)), 1 / (1 + math.exp(-5)), 0.0]
  np.testing.assert_allclose(found, expected, rtol=1e-6)
  steep = advantages.local_weight(jnp.ones(1), jnp.ones(1), k=20.0, b=1.5)
  np.testing.assert_allclose(steep, 1 / (1 + math.exp(10)), rtol=1e-5)
