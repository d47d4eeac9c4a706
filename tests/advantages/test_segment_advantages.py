import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import assert_close, both_precisions, exact, random_mask, run

from rljax import advantages

RNG = np.random.default_rng(3)
MASK = random_mask(RNG, (6, 12))
PROBS = exact(RNG.choice([0.05, 0.4, 0.7, 0.95, 0.99], MASK.shape))
REWARDS = exact(RNG.random(6))
VALUES = exact(RNG.random(MASK.shape))
CUTS = (RNG.random(MASK.shape) < 0.4) * 1.0
CUTS[3] = 0
CUTS[4, 0], MASK[4, 0] = 1, 1


def slow_cut_points(probs, mask, threshold, interval):
  cuts = np.zeros(mask.shape)
  for i in range(len(mask)):
    candidates = [t for t in range(mask.shape[1]) if mask[i, t] and probs[i, t] < threshold]
    for t in candidates[::interval]:
      cuts[i, t] = 1
  return cuts


def slow_chain(rewards, values, cuts, probs, mask, threshold):
  """Walks over the segments: the tokens from a cut up to the next one, or to the end."""
  found = np.zeros(mask.shape)
  for i in range(len(mask)):
    starts = [t for t in range(mask.shape[1]) if mask[i, t] and cuts[i, t]]
    for n, start in enumerate(starts):
      last = n + 1 == len(starts)
      stop = mask.shape[1] if last else starts[n + 1]
      rise = (rewards[i] if last else values[i, stop]) - values[i, start]
      for t in range(start, stop):
        if mask[i, t] and not probs[i, t] > threshold:
          found[i, t] = rise
  return found


@pytest.mark.parametrize('interval', [1, 2, 5])
@pytest.mark.parametrize('threshold', [0.5, 0.9])
def test_cut_points_equal_a_loop(interval, threshold):
  expected = slow_cut_points(PROBS, MASK, threshold, interval)
  dirty = np.where(MASK > 0, PROBS, np.nan)

  def cut(probs, mask):
    return advantages.cut_points(probs, mask, threshold=threshold, interval=interval)

  np.testing.assert_array_equal(run(cut, 'float32', dirty, MASK), expected)
  assert expected.sum() > 3


def test_a_token_at_the_threshold_is_no_candidate_and_sure_completions_have_no_cut():
  probs = jnp.array([[0.5, 0.25, 0.5], [0.9, 0.99, 1.0]])
  cuts = advantages.cut_points(probs, jnp.ones((2, 3)), threshold=0.5, interval=1)
  np.testing.assert_array_equal(cuts, [[0, 1, 0], [0, 0, 0]])


def test_by_default_every_fifth_token_below_nine_tenths_is_a_cut():
  cuts = advantages.cut_points(jnp.full((1, 12), 0.85), jnp.ones((1, 12)))
  np.testing.assert_array_equal(np.flatnonzero(cuts[0]), [0, 5, 10])


def test_positions_and_values_of_cuts_come_back_to_their_tokens():
  positions = advantages.cut_positions(jnp.asarray(CUTS), size=4)
  rewards = exact(RNG.random((6, 4, 3)))
  where = (RNG.random(rewards.shape) < 0.7) * 1.0
  where[2, 0] = 0
  cuts, values = advantages.place_values(
    jnp.asarray(rewards, jnp.float32), positions, jnp.asarray(where), length=12
  )
  expected_cuts, expected = np.zeros(CUTS.shape), np.zeros(CUTS.shape)
  for i in range(6):
    at = np.flatnonzero(CUTS[i])[:4]
    np.testing.assert_array_equal(positions[i], [*at, *[-1] * (4 - len(at))])
    for s, t in enumerate(at):
      real = [rewards[i, s, k] for k in range(3) if where[i, s, k]]
      if real:
        expected_cuts[i, t], expected[i, t] = 1, sum(real) / len(real)
  assert (
    0 < expected_cuts.sum() < CUTS.sum()
  )  # a cut without completions, and one beyond the fourth
  np.testing.assert_array_equal(cuts, expected_cuts)
  np.testing.assert_allclose(values, expected, rtol=1e-6)


@both_precisions
def test_the_chain_equals_a_walk_over_segments(dtype, tolerance):
  expected = slow_chain(REWARDS, VALUES, CUTS, PROBS, MASK, 0.9)
  spoilt = np.where(MASK > 0, PROBS, np.nan), np.where((MASK > 0) & (CUTS > 0), VALUES, np.inf)
  found = run(advantages.spo_chain, dtype, REWARDS, spoilt[1], CUTS, spoilt[0], MASK)
  assert_close(found, expected, tolerance, each=False)
  assert len(np.unique(expected)) > 5
  deep = run(
    advantages.spo_chain,
    dtype,
    *(x.reshape(2, 3, *x.shape[1:]) for x in (REWARDS, VALUES, CUTS, PROBS, MASK)),
  )
  assert_close(deep.reshape(expected.shape), expected, tolerance, each=False)


def chain(reward, values, cuts, probs):
  arrays = (jnp.asarray([x], jnp.float32) for x in (values, cuts, probs))
  return advantages.spo_chain(jnp.array([reward]), *arrays, jnp.ones((1, len(cuts))))[0]


def test_without_a_cut_at_the_prompt_the_first_segment_gets_nothing():
  found = chain(1.0, [0, 0, 0.25, 0], [0, 0, 1, 0], [0.5, 0.5, 0.5, 0.5])
  np.testing.assert_array_equal(found, [0, 0, 0.75, 0.75])


def test_without_cuts_all_is_zero():
  np.testing.assert_array_equal(chain(1.0, [0.3, 0.3], [0, 0], [0.5, 0.5]), 0)


def test_segments_of_the_chain_by_hand():
  found = chain(
    1.0, [0.5, 9, 0.25, 9, 9], [1, 0, 1, 0, 0], [0.5, 0.95, 0.5, 0.899, 0.99]
  )  # 0.5 -> 0.25 -> 1
  np.testing.assert_allclose(found, [-0.25, 0, 0.75, 0.75, 0])


def test_whitening_sees_unlikely_tokens_and_falls_back_to_all():
  x = exact(RNG.normal(size=MASK.shape))
  unlikely = (PROBS < 0.9) * 1.0
  for chosen, expected in ((unlikely, (MASK > 0) & (unlikely > 0)), (0 * unlikely, MASK > 0)):
    values = x[expected]
    wanted = np.zeros(x.shape)
    variance = np.sum((values - values.mean()) ** 2) / (len(values) - 1)
    wanted[expected] = (values - values.mean()) / np.sqrt(variance + 1e-8)
    dirty = np.where(MASK > 0, x, np.nan)
    found = run(advantages.whiten_unlikely, 'float64', dirty, MASK, chosen)
    assert_close(found, wanted, 1e-10, each=False)
  nothing = run(advantages.whiten_unlikely, 'float32', x, 0 * MASK, unlikely)
  np.testing.assert_array_equal(nothing, 0)


def test_steps_are_counted_from_their_last_tokens():
  ends = np.array([[0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 1]])
  ids = advantages.step_ids(jnp.asarray(ends))
  np.testing.assert_array_equal(ids, [[0, 0, 0, 1, 2, 2], [0, 0, 0, 0, 0, 0], [0, 1, 1, 1, 1, 1]])
  assert jnp.issubdtype(ids.dtype, jnp.integer)


def test_tokens_take_the_value_of_their_step_and_those_after_the_last_the_last():
  values = jnp.array([[1.0, 2.0, jnp.nan], [jnp.nan, jnp.nan, jnp.nan]])
  where = jnp.array([[1, 1, 0], [0, 0, 0]])
  ids = jnp.array([[0, 1, 2, 7], [0, 1, 2, 3]])
  found = jax.jit(advantages.to_tokens)(values, ids, where, 5.0)
  np.testing.assert_array_equal(found, [[1, 2, 2, 2], [5, 5, 5, 5]])
