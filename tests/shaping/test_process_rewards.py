"""Rewards of steps: Clip, Delta, their total, and potential-based shaping."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import assert_close, both_precisions, exact, random_mask, run

from rljax import advantages, shaping

RNG = np.random.default_rng(0)
SHAPE = (3, 4, 6)
SCORES = exact(RNG.uniform(-1, 1, SHAPE))
WHERE = random_mask(RNG, SHAPE)
CORRECT = (RNG.random(SHAPE[:2]) < 0.5).astype(np.float64)
ETA = 0.125


def by_row(fn, x, where):
  """`fn(list of the real steps) -> list`, row by row; 0 at the others."""
  out = np.zeros(SHAPE)
  for i in np.ndindex(*SHAPE[:2]):
    places = [s for s in range(SHAPE[2]) if where[i][s]]
    for s, value in zip(places, fn([x[i][s] for s in places], i), strict=True):
      out[i][s] = value
  return out


def slow_clip(scores, _):
  return [min(r - ETA, 0.0) for r in scores]


def slow_delta(scores, _):
  out = []
  for k in range(1, len(scores) + 1):
    if k < len(scores) - 1:
      out.append(scores[k - 1] - scores[k])
    else:
      out.append(scores[k - 1] if k == len(scores) - 1 else 0.0)
  return out


def slow_total(rewards, i):
  out = [0.5 * r for r in rewards]
  if out:
    out[-1] += CORRECT[i]
  return out


def slow_potential(phi, _):
  following = [*phi[1:], 0.0][: len(phi)]
  return [0.75 * after - before for before, after in zip(phi, following, strict=True)]


CASES = {
  'clip': (slow_clip, lambda x, w: shaping.process_clip(x, w, eta=ETA)),
  'delta': (slow_delta, shaping.process_delta),
  'total': (
    slow_total,
    lambda x, w: shaping.process_total(x, jnp.asarray(CORRECT, x.dtype), w, alpha=0.5),
  ),
  'potential': (slow_potential, lambda x, w: shaping.potential_shaping(x, w, gamma=0.75)),
}


@both_precisions
@pytest.mark.parametrize('name', CASES)
def test_rewards_of_steps_equal_loops(name, dtype, tolerance):
  slow, fn = CASES[name]
  dirty = np.where(WHERE > 0, SCORES, np.nan)
  assert_close(run(fn, dtype, dirty, WHERE), by_row(slow, SCORES, WHERE), tolerance)
  everything = np.ones(SHAPE)
  found = run(lambda x: fn(x, None), dtype, SCORES)
  assert_close(found, by_row(slow, SCORES, everything), tolerance)


def test_a_single_step_has_no_process_part_under_delta():
  np.testing.assert_array_equal(shaping.process_delta(jnp.array([[0.75]])), [[0.0]])
  alone = shaping.process_delta(jnp.array([[9.0, 0.75, 9.0]]), jnp.array([[0.0, 1.0, 0.0]]))
  np.testing.assert_array_equal(alone, [[0.0, 0.0, 0.0]])
  total = shaping.process_total(alone, jnp.ones(1), jnp.array([[0.0, 1.0, 0.0]]), alpha=2.0)
  np.testing.assert_array_equal(total, [[0.0, 1.0, 0.0]])


def test_clip_at_eta_is_zero_and_no_step_gets_nothing():
  np.testing.assert_array_equal(shaping.process_clip(jnp.array([0.5]), eta=0.5), [0.0])
  nothing = jnp.zeros((1, 3))
  assert (shaping.process_total(jnp.ones((1, 3)), jnp.ones(1), nothing, alpha=1.0) == 0).all()


@jax.jit
def bounded(scores, correct, real):
  return shaping.process_total(shaping.process_delta(scores, real), correct, real, alpha=0.5)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 8), min_size=2, max_size=12), st.sampled_from([0.0, 1.0]))
def test_from_each_step_on_delta_adds_up_to_its_own_score(eighths, correct):
  """However many steps there are, so that more of them cannot collect more."""
  scores, real = np.zeros((2, 12), np.float32)
  scores[: len(eighths)], real[: len(eighths)] = np.array(eighths) / 8, 1.0
  total = bounded(scores, np.float32(correct), real)[: len(eighths)]
  returns, scores = np.cumsum(total[::-1])[::-1], scores[: len(eighths)]
  np.testing.assert_array_equal(returns[:-1], 0.5 * scores[:-1] + correct)
  assert returns[-1] == correct


def test_potentials_add_up_to_the_first_one_and_vanish_in_a_group():
  phi = jnp.array([[[0.5, 0.25, 1.0], [0.5, 0.75, 0.0]]])  # from the same prompt
  total = shaping.potential_shaping(phi, gamma=1.0).sum(-1)
  np.testing.assert_array_equal(total, [[-0.5, -0.5]])
  rewards = jnp.array([[1.0, 0.0]])
  np.testing.assert_array_equal(advantages.center(rewards + total), advantages.center(rewards))
