"""PROF: scores of agreement, numbers that are kept, and who is kept."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import assert_close, both_precisions, exact, random_mask, run

from rljax import selection
from rljax.groups import per_group
from rljax.types import Batch

RNG = np.random.default_rng(1)
P, G, S = 8, 6, 5
STEPS = exact(RNG.uniform(0, 1, (P, G, S)))
STEP_MASK = random_mask(RNG, (P, G, S))
CORRECT = (RNG.random((P, G)) < 0.5).astype(np.float64)
CORRECT[0], CORRECT[3], CORRECT[4] = 1.0, 0.0, [1, 0, 0, 0, 0, 0]
WHERE = random_mask(RNG, (P, G))
WHERE[3:5] = 1.0
SCORES = exact(RNG.choice([-0.5, -0.25, 0.1, 0.3, 0.6], (P, G)))  # with ties


def slow_score(penalty, max_steps):
  out = np.zeros((P, G))
  for p, g in np.ndindex(P, G):
    steps = [STEPS[p, g, s] for s in range(S) if STEP_MASK[p, g, s]]
    value = sum(steps) / len(steps) if steps else 0.0
    if len(steps) == 1 or len(steps) >= max_steps:
      value -= penalty
    out[p, g] = value if CORRECT[p, g] else -value
  return out


def slow_counts(right, wrong, size):
  """All pairs with the greatest sum up to `size`; the greatest product; then more right ones."""
  pairs = itertools.product(range(right + 1), range(wrong + 1))
  pairs = [(a, b) for a, b in pairs if a + b == min(size, right + wrong)]
  return max(pairs, key=lambda pair: (pair[0] * pair[1], pair[0]))


def slow_select(scores, correct, where, size):
  keep = np.zeros(scores.shape)
  for p in range(len(scores)):
    right = [g for g in range(scores.shape[1]) if where[p, g] and correct[p, g]]
    wrong = [g for g in range(scores.shape[1]) if where[p, g] and not correct[p, g]]
    counts = slow_counts(len(right), len(wrong), size)
    for members, count in zip((right, wrong), counts, strict=True):
      for g in sorted(members, key=lambda g: -scores[p, g])[:count]:
        keep[p, g] = 1.0
  return keep


@both_precisions
def test_scores_equal_a_loop(dtype, tolerance):
  score = functools.partial(selection.prof_score, penalty=0.25, max_steps=4)
  dirty = np.where(STEP_MASK > 0, STEPS, np.nan)
  assert_close(run(score, dtype, dirty, CORRECT, STEP_MASK), slow_score(0.25, 4), tolerance)


@pytest.mark.parametrize('size', [1, 2, 3, 4, 5, 6, 9])
def test_counts_are_the_most_even_ones(size):
  rows = list(itertools.product(range(5), range(5)))
  correct = np.zeros((len(rows), 8))
  where = np.zeros((len(rows), 8))
  for i, (right, wrong) in enumerate(rows):
    correct[i, :right] = 1.0
    where[i, : right + wrong] = 1.0
  found = selection.prof_counts(jnp.asarray(correct), jnp.asarray(where), size=size)
  expected = [slow_counts(right, wrong, size) for right, wrong in rows]
  np.testing.assert_array_equal(np.stack(found, -1), expected)


@both_precisions
@pytest.mark.parametrize('size', [1, 3, 4, 6])
def test_the_best_of_both_kinds_are_kept_as_in_a_loop(size, dtype, tolerance):
  select = functools.partial(selection.prof_select, size=size)
  expected = slow_select(SCORES, CORRECT, WHERE, size)
  dirty = np.where(WHERE > 0, SCORES, np.nan)
  assert_close(run(select, dtype, dirty, CORRECT, WHERE), expected, tolerance)
  full = slow_select(SCORES, CORRECT, np.ones((P, G)), size)
  assert_close(run(select, dtype, SCORES, CORRECT), full, tolerance)


def test_rows_of_interleaved_groups_are_selected_in_their_groups():
  group = np.array([0, 1, 2, 0, 1, 2, 0, 1, 0])
  scores, correct = exact(RNG.normal(size=9)), np.array([1, 1, 0, 0, 1, 0, 1, 1, 0.0])
  batch = Batch(group=jnp.asarray(group), group_shape=(3, 4))
  select = jax.jit(per_group(functools.partial(selection.prof_select, size=2), batch))
  found = select(jnp.float32(scores), jnp.float32(correct))
  for g in range(3):
    rows = np.flatnonzero(group == g)
    expected = slow_select(scores[rows][None], correct[rows][None], np.ones((1, len(rows))), 2)
    np.testing.assert_array_equal(found[rows], expected[0])


def test_the_one_sided_form_filters_right_answers_and_draws_wrong_ones():
  scores = jnp.array([[0.9, 0.1, 0.5, 3.0, 2.0, 1.0, 0.0]])
  correct = jnp.array([[1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]])
  draw = jax.jit(jax.vmap(lambda key: selection.prof_select_pos(key, scores, correct, size=4)[0]))
  kept = np.asarray(draw(jax.random.split(jax.random.key(0), 600)))
  np.testing.assert_array_equal(kept[:, :3], np.tile([1.0, 0.0, 1.0], (600, 1)))
  assert (kept[:, 3:].sum(-1) == 2).all()
  np.testing.assert_allclose(kept[:, 3:].mean(0), 0.5, atol=0.08)  # four deviations
