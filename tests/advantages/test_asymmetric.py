"""The two weights of APO."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from parity import assert_close, both_precisions, exact, random_mask, run

from rljax import advantages
from rljax.groups import per_group
from rljax.types import Batch

RNG = np.random.default_rng(0)
SHAPE = (30, 5)
CORRECT = RNG.integers(0, 2, SHAPE).astype(np.float64)
CORRECT[3], CORRECT[4] = 0.0, 1.0
ADVANTAGES = exact(RNG.normal(size=SHAPE))
LENGTHS = RNG.integers(0, 40, SHAPE).astype(np.float64)
WHERE = random_mask(RNG, SHAPE)


def members(row):
  return [g for g in range(len(row)) if row[g] > 0]


def slow_dads(adv, correct, where):
  out = np.ones(adv.shape)
  for p in range(len(adv)):
    group = members(where[p])
    wrong = sum(correct[p, g] <= 0 for g in group)
    if 0 < wrong < len(group):
      for g in group:
        if adv[p, g] > 0:
          out[p, g] = 1 - math.exp(-math.e * (1 - wrong / len(group)))
  return out


def slow_stcr(correct, lengths, where, base):
  out = np.ones(correct.shape)
  for p in range(len(correct)):
    group = members(where[p])
    right = [lengths[p, g] for g in group if correct[p, g] > 0]
    for g in group:
      if right and correct[p, g] <= 0 and lengths[p, g] > sum(right) / len(right):
        out[p, g] = 2 - base ** -(lengths[p, g] - sum(right) / len(right))
  return out


@both_precisions
def test_dads_equals_a_loop(dtype, tolerance):
  for where in (WHERE, np.ones(SHAPE)):
    expected = slow_dads(ADVANTAGES, CORRECT, where)
    assert len(np.unique(expected)) > 4
    assert_close(run(advantages.dads, dtype, ADVANTAGES, CORRECT, where), expected, tolerance)


@both_precisions
@pytest.mark.parametrize('base', [1.00001, 1.2])
def test_stcr_equals_a_loop(dtype, tolerance, base):
  for where in (WHERE, np.ones(SHAPE)):
    expected = slow_stcr(CORRECT, LENGTHS, where, base)
    assert (expected > 1).sum() > 5
    found = run(lambda c, n, w: advantages.stcr(c, n, w, base=base), dtype, CORRECT, LENGTHS, where)
    assert_close(found, expected, tolerance)
    # Most of a weight is its 1: what is added to it has to be right by itself.
    assert_close(found - 1, expected - 1, 2e-3 if dtype == 'float32' else 1e-9, each=False)


def test_dads_is_one_where_all_are_right_or_all_are_wrong():
  adv = jnp.array([[1.0, -1.0], [1.0, -1.0]])
  correct = jnp.array([[1.0, 1.0], [0.0, 0.0]])
  np.testing.assert_array_equal(advantages.dads(adv, correct), 1.0)


def test_dads_lightens_positive_advantages_of_hard_prompts_most():
  adv = jnp.ones((3, 4))
  correct = jnp.array([[1.0, 0, 0, 0], [1.0, 1, 0, 0], [1.0, 1, 1, 0]])
  weights = advantages.dads(adv, correct)[:, 0]
  expected = [1 - math.exp(-math.e * right / 4) for right in (1, 2, 3)]
  np.testing.assert_allclose(weights, expected, rtol=1e-6)
  np.testing.assert_array_equal(advantages.dads(-adv, correct), 1.0)
  np.testing.assert_array_equal(advantages.dads(0 * adv, correct), 1.0)


def test_stcr_of_a_thousand_tokens_too_many_is_nearly_off():
  weights = advantages.stcr(jnp.array([[1.0, 0.0, 0.0]]), jnp.array([[500.0, 1500.0, 500.0]]))
  np.testing.assert_allclose(weights[0], [1.0, 1.00995, 1.0], rtol=1e-6)


def test_stcr_is_one_without_a_right_answer_and_never_above_two():
  lengths = jnp.array([[1.0, 1e7]])
  np.testing.assert_array_equal(advantages.stcr(jnp.zeros((1, 2)), lengths), 1.0)
  np.testing.assert_array_equal(advantages.stcr(jnp.array([[1.0, 0.0]]), lengths)[0], [1.0, 2.0])


def test_groups_of_one_and_members_that_are_not_real_weigh_one():
  np.testing.assert_array_equal(advantages.dads(jnp.ones((2, 1)), jnp.ones((2, 1))), 1.0)
  np.testing.assert_array_equal(advantages.stcr(jnp.zeros((2, 1)), jnp.ones((2, 1))), 1.0)
  where = jnp.array([[1.0, 1.0, 0.0]])
  correct, garbage = jnp.array([[1.0, 0.0, 1.0]]), jnp.array([[3.0, 9.0, jnp.nan]])
  np.testing.assert_array_equal(advantages.stcr(correct, garbage, where, base=2.0)[0, 2], 1.0)
  np.testing.assert_allclose(advantages.stcr(correct, garbage, where, base=2.0)[0, 1], 2 - 2**-6.0)
  light = 1 - math.exp(-math.e / 2)
  found = advantages.dads(garbage, correct, where)[0]
  np.testing.assert_allclose(found, [light, light, 1.0], rtol=1e-6)


def test_interleaved_groups_equal_their_own_tables():
  group = jnp.array([0, 1, 2, 0, 1, 0, 2, 1, 0])
  rows = Batch(group=group, group_shape=(3, 4))
  correct = jnp.array([1.0, 0, 1, 0, 1, 0, 0, 0, 1])
  lengths = jnp.array([3.0, 9, 2, 8, 4, 1, 7, 4, 5])
  found = per_group(lambda c, n, where: advantages.stcr(c, n, where, base=1.5), rows)(
    correct, lengths
  )
  for g in range(3):
    at = np.flatnonzero(np.asarray(group) == g)
    alone = advantages.stcr(correct[at][None], lengths[at][None], base=1.5)[0]
    np.testing.assert_allclose(found[at], alone, rtol=1e-6)
  assert np.asarray(found).max() > 1.5


def test_a_base_that_does_not_grow_is_refused():
  with pytest.raises(ValueError, match='must be above 1'):
    advantages.stcr(jnp.ones((1, 2)), jnp.ones((1, 2)), base=1.0)
