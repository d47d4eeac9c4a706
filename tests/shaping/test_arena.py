"""Tournaments as functions of the matrix of pair scores."""

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

RNG = np.random.default_rng(4)
P, G = 9, 6
SCORES = exact(RNG.integers(0, 6, (P, G, G)))  # with draws
SCORES[5] = 5.0
WHERE = random_mask(RNG, (P, G))
VALUES = exact(RNG.choice([0.0, 0.1, 0.5, 2.0], (P, G)))
VALUES[3] = 0.1


def play(scores, where=None):
  fast = {'xla_backend_optimization_level': 0}
  return jax.jit(shaping.single_elimination, compiler_options=fast)(scores, where)


def members(where, p):
  return [g for g in range(where.shape[1]) if where[p, g]]


def slow_round_robin(scores, group):
  wins = dict.fromkeys(group, 0.0)
  for n, i in enumerate(group):
    for j in group[n + 1 :]:
      if scores[i, j] > scores[j, i]:
        wins[i] += 1
      elif scores[i, j] < scores[j, i]:
        wins[j] += 1
      else:
        wins[i], wins[j] = wins[i] + 0.5, wins[j] + 0.5
  return wins


def slow_anchor(scores, group):
  if not group:
    return {}
  pivot, *others = group
  own = [scores[pivot, j] for j in others]
  return {pivot: sum(own) / len(own) if own else 0.0} | {i: scores[i, pivot] for i in others}


def slow_rank(values, group):
  ranks = {i: 1 + sum(values[j] > values[i] for j in group) for i in group}
  last = max(ranks.values(), default=1)
  return {i: (last - r) / (last - 1) if last > 1 else 0.0 for i, r in ranks.items()}


def slow_places(scores, group):
  """The tournament played with lists of players and of points."""
  points = {i: [x] for i, x in slow_anchor(scores, group).items()}

  def mean(i):
    return sum(points[i]) / len(points[i])

  seeds = sorted(group, key=lambda i: -mean(i))
  size = 1
  while size < len(seeds):
    size *= 2
  order, count = [0], 1
  while count < size:
    order = [x for seat in order for x in (seat, 2 * count - 1 - seat)]
    count *= 2
  active, history = [seeds[x] for x in order if x < len(seeds)], []
  while len(active) > 1:
    going_on, gone = [], []
    if len(active) % 2:
      going_on.append(active[-1])
    for k in range(len(active) // 2):
      a, b = active[2 * k], active[2 * k + 1]
      points[a].append(scores[a, b])
      points[b].append(scores[b, a])
      stays = scores[a, b] >= scores[b, a]
      going_on.append(a if stays else b)
      gone.append(b if stays else a)
    active = going_on
    history.append(gone)
  ranked = list(active)
  for gone in reversed(history):
    ranked += sorted(gone, key=lambda i: -mean(i))
  return {i: place for place, i in enumerate(ranked)}


def table(slow, scores, where):
  out = np.zeros(where.shape)
  for p in range(len(where)):
    for g, value in slow(scores[p], members(where, p)).items():
      out[p, g] = value
  return out


@both_precisions
@pytest.mark.parametrize(
  ('slow', 'fn', 'data'),
  [
    (slow_round_robin, shaping.round_robin, SCORES),
    (slow_anchor, shaping.anchor, SCORES),
    (slow_rank, shaping.rank_rewards, VALUES),
  ],
)
def test_points_and_ranks_equal_loops(slow, fn, data, dtype, tolerance):
  real = WHERE[..., None] * WHERE[:, None] if data.ndim == 3 else WHERE
  dirty = np.where(real > 0, data, np.nan)
  assert_close(run(fn, dtype, dirty, WHERE), table(slow, data, WHERE), tolerance)
  assert_close(run(fn, dtype, data), table(slow, data, np.ones((P, G))), tolerance)


@pytest.mark.parametrize('size', [1, 6, 8, 9])
def test_places_of_the_knock_out_equal_a_tournament_of_lists(size):
  """On random judges, with draws and without."""
  rng = np.random.default_rng(size)
  scores = rng.normal(size=(40, size, size))
  scores[20:] = rng.integers(0, 4, (20, size, size))
  everyone = np.ones((40, size))
  with jax.enable_x64(True):
    found = play(jnp.asarray(scores))
  expected = table(slow_places, scores, everyone)
  np.testing.assert_array_equal(found, expected)
  assert all(sorted(row) == list(range(size)) for row in expected)


def test_groups_of_any_number_share_one_program():
  rng = np.random.default_rng(20)
  scores = rng.integers(0, 9, (200, 7, 7)) * 1.0
  where = (rng.random((200, 7)) < 0.7) * 1.0  # with gaps
  assert set(where.sum(-1)) >= {2.0, 3.0, 4.0, 5.0, 6.0, 7.0}
  where[0], where[1], where[2] = 0.0, [0, 0, 0, 1, 0, 0, 0], [0, 1, 0, 0, 0, 1, 0]
  dirty = np.where(where[..., None] * where[:, None] > 0, scores, np.nan)
  with jax.enable_x64(True):
    found = play(jnp.asarray(dirty), jnp.asarray(where))
  np.testing.assert_array_equal(found, table(slow_places, scores, where))


def test_six_players_meet_as_in_the_source():
  """Seeds 1 to 6: pairs 1-4, 5-2, 3-6, as missing seeds leave gaps that the others close."""
  scores = np.zeros((6, 6))
  scores[0], scores[:, 0] = 90, [0, 50, 40, 30, 20, 10]  # seeds in the order of the members
  scores[4, 1], scores[1, 4] = 9, 2  # 0 beats 3, 4 beats 1, and 2 beats 5
  scores[2, 5], scores[5, 2] = 9, 3
  scores[0, 2] = 40  # 2 rests, sits first in the final and so survives a draw
  found = play(jnp.asarray(scores)[None])
  # Who left first: 3 with the mean of 30 and 30, 1 with that of 50 and 2, 5 with 10 and 3.
  np.testing.assert_array_equal(found, [[1, 4, 0, 3, 2, 5]])


@both_precisions
def test_rewards_of_places_fall_evenly_and_one_alone_gets_nothing(dtype, tolerance):
  places = np.array([[2, 0, 1, 3.0], [1, 0, 9, 9], [0, 9, 9, 9], [9, 9, 9, 9]])
  where = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0.0]])
  expected = [[1 / 3, 1, 2 / 3, 0], [0, 1, 0, 0], [0] * 4, [0] * 4]
  assert_close(run(shaping.place_rewards, dtype, places, where), expected, tolerance, each=False)


def test_all_equal_has_rank_reward_zero_and_equals_share_the_better_rank():
  values = jnp.array([[0.1, 0.1, 0.1, 0.1], [3.0, 3.0, 1.0, 0.0]])
  np.testing.assert_allclose(
    shaping.rank_rewards(values), [[0, 0, 0, 0], [1, 1, 1 / 3, 0]], rtol=1e-6
  )


def test_the_authors_standardised_rewards_are_grpo_of_these():
  """Of an order of four: mean one half, unbiased deviation, 1e-6 beside it."""
  raw = shaping.place_rewards(jnp.array([[0, 1, 2, 3]]))
  expected = (np.array([1, 2 / 3, 1 / 3, 0]) - 0.5) / (np.std([0, 1, 2, 3], ddof=1) / 3 + 1e-6)
  np.testing.assert_allclose(advantages.grpo(raw, eps=1e-6, ddof=1)[0], expected, rtol=1e-6)


def test_rows_of_interleaved_groups_play_among_themselves():
  group = np.array([0, 1, 2, 0, 1, 2, 0, 1, 0])
  scores = RNG.normal(size=(9, 4))  # against the members of the own group, by place
  batch = Batch(group=jnp.asarray(group), group_shape=(3, 4))
  found = jax.jit(per_group(shaping.single_elimination, batch))(jnp.float32(scores))
  for g in range(3):
    rows = np.flatnonzero(group == g)
    expected = slow_places(np.float32(scores[rows]), list(range(len(rows))))
    np.testing.assert_array_equal(found[rows], [expected[i] for i in range(len(rows))])


@jax.jit
def every_scheme(scores):
  points = shaping.round_robin(scores)
  return points, shaping.rank_rewards(points), shaping.anchor(scores)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.permutations(range(6)))
def test_a_consistent_judge_crowns_the_best_in_every_scheme(order):
  strength = jnp.array([order], jnp.float32)
  scores = jnp.broadcast_to(strength[..., None], (1, 6, 6))
  best = int(np.argmax(order))
  assert play(scores)[0, best] == 0
  points, ranks, seeds = every_scheme(scores)
  np.testing.assert_array_equal(points, strength)
  np.testing.assert_allclose(ranks, strength / 5, rtol=1e-6)
  assert np.argmax(seeds) == best
