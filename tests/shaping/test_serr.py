"""Ranks of truncated answers by the structure of their entropy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import assert_close, both_precisions, exact, random_mask, run

from rljax import shaping
from rljax.groups import per_group
from rljax.types import Batch

RNG = np.random.default_rng(5)
P, G, T = 9, 6, 10
ENTROPY = exact(RNG.exponential(1.0, (P, G, T)))
MASK = random_mask(RNG, (P, G, T))
PEAK = exact(RNG.choice([0.5, 1.0, 1.5, 2.0], (P, G)))
OVERALL = exact(RNG.choice([0.1, 0.2, 0.3, 0.4], (P, G)))
PEAK[3], OVERALL[3] = 1.0, 0.2  # all equal
WHERE = random_mask(RNG, (P, G))
WHERE[3] = 1.0


def slow_structure(share):
  peak, overall = np.zeros((P, G)), np.zeros((P, G))
  for i in np.ndindex(P, G):
    tokens = sorted((ENTROPY[i][t] for t in range(T) if MASK[i][t]), reverse=True)
    if tokens:
      top = tokens[: max(1, int(share * len(tokens)))]
      peak[i], overall[i] = sum(top) / len(top), sum(tokens) / len(tokens)
  return peak, overall


def slow_serr(peak, overall, where, max_reward):
  out = np.zeros(peak.shape)
  for p in range(len(peak)):
    group = [g for g in range(peak.shape[1]) if where[p, g]]
    score = {
      i: sum(1 for j in group if peak[p, i] > peak[p, j] and overall[p, i] < overall[p, j])
      for i in group
    }
    for k, i in enumerate(sorted(group, key=lambda i: -score[i])):  # stable
      out[p, i] = max_reward * (1 - k / (len(group) - 1)) if len(group) > 1 else max_reward
  return out


@both_precisions
@pytest.mark.parametrize('share', [0.05, 0.25, 0.5, 1.0])
def test_peaks_and_means_equal_a_loop(share, dtype, tolerance):
  dirty = np.where(MASK > 0, ENTROPY, np.nan)
  for k, expected in enumerate(slow_structure(share)):

    def one(entropy, mask, k=k):
      return shaping.entropy_structure(entropy, mask, share=share)[k]

    assert_close(run(one, dtype, dirty, MASK), expected, tolerance)


@both_precisions
def test_rank_rewards_equal_a_loop(dtype, tolerance):
  fn = functools.partial(shaping.serr, max_reward=0.75)
  dirty = [np.where(WHERE > 0, x, np.nan) for x in (PEAK, OVERALL)]
  expected = slow_serr(PEAK, OVERALL, WHERE, 0.75)
  assert_close(run(fn, dtype, *dirty, WHERE), expected, tolerance, each=False)
  full = slow_serr(PEAK, OVERALL, np.ones((P, G)), 0.75)
  assert_close(run(fn, dtype, PEAK, OVERALL), full, tolerance, each=False)


def test_equals_get_different_rewards_in_their_order_and_one_alone_all_of_it():
  found = shaping.serr(jnp.ones((1, 3)), jnp.ones((1, 3)), max_reward=0.5)
  np.testing.assert_array_equal(found, [[0.5, 0.25, 0.0]])
  where = jnp.array([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
  found = shaping.serr(jnp.ones((2, 3)), jnp.ones((2, 3)), where, max_reward=0.5)
  np.testing.assert_array_equal(found, [[0.0, 0.0, 0.5], [0.0, 0.0, 0.0]])


def test_higher_peaks_do_not_dominate_at_an_equal_mean():
  peak, overall = jnp.array([[1.0, 2.0, 3.0]]), jnp.array([[0.5, 0.5, 0.4]])
  found = shaping.serr(peak, overall, max_reward=1.0)
  np.testing.assert_array_equal(found, [[0.5, 0.0, 1.0]])


def test_one_token_at_least_makes_the_peaks_and_no_token_none():
  entropy, mask = jnp.array([[3.0, 1.0], [3.0, 1.0]]), jnp.array([[1.0, 1.0], [0.0, 0.0]])
  peak, overall = shaping.entropy_structure(entropy, mask, share=0.1)
  np.testing.assert_array_equal(peak, [3.0, 0.0])
  np.testing.assert_array_equal(overall, [2.0, 0.0])


def test_only_truncated_answers_of_unsolved_groups_are_ranked():
  correct = jnp.array([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
  truncated = jnp.array([[1.0, 0.0, 1.0]] * 3)
  where = jnp.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [1.0, 0.0, 1.0]])
  found = shaping.truncated_failures(correct, truncated, where)
  np.testing.assert_array_equal(found, [[1, 0, 0], [0, 0, 0], [1, 0, 1]])


def test_rows_of_interleaved_groups_are_ranked_in_their_groups():
  group = np.array([0, 1, 2, 0, 1, 2, 0, 1, 0])
  peak, overall = (exact(RNG.normal(size=9)) for _ in range(2))
  batch = Batch(group=jnp.asarray(group), group_shape=(3, 4))
  rank = jax.jit(per_group(functools.partial(shaping.serr, max_reward=1.0), batch))
  found = rank(jnp.float32(peak), jnp.float32(overall))
  for g in range(3):
    rows = np.flatnonzero(group == g)
    expected = slow_serr(peak[rows][None], overall[rows][None], np.ones((1, len(rows))), 1.0)
    np.testing.assert_allclose(found[rows], expected[0], rtol=1e-6, atol=1e-7)
