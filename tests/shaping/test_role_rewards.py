"""Rewards of single tasks against loops: diversity, search, boxes, games, refusals, trees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import assert_close, both_precisions, exact, random_mask, run

from rljax import shaping
from rljax.groups import per_group
from rljax.types import Batch

RNG = np.random.default_rng(0)


def bits(*shape):
  return RNG.integers(0, 2, shape).astype(np.float64)


# Diversity beside the answer


@both_precisions
def test_multirole_equals_a_loop(dtype, tolerance):
  correct, diversity = bits(20), exact(RNG.random(20))
  expected = [0.9 * c + 0.1 * d for c, d in zip(correct, diversity, strict=True)]
  assert_close(run(shaping.multirole, dtype, correct, diversity), expected, tolerance)


def test_multirole_keeps_the_order_of_right_answers_apart_by_diversity():
  found = shaping.multirole(jnp.ones(2), jnp.array([0.4, 0.6]))
  np.testing.assert_allclose(found, [0.94, 0.96], rtol=1e-6)


# Web search


def slow_search(correct, formatted, us, rs, ex, ve, rq):
  found = []
  for c, f, *counts in zip(correct, formatted, us, rs, ex, ve, rq, strict=True):
    a, b, x, v, q = counts
    if c:
      rho = (b + q) / sum(counts) if sum(counts) else 0.0
      found.append(0.1 * f + max(1 - rho, 0.5))
    else:
      found.append(0.1 * f + 0.2 * min(1, (a - b) / 8) + 0.2 * min(1, (x + v - q) / 16))
  return found


@both_precisions
def test_steerable_search_equals_a_loop(dtype, tolerance):
  correct, formatted = bits(60), bits(60)
  counts = RNG.integers(0, 22, (5, 60)).astype(np.float64)
  counts[:, :4] = 0  # no call
  correct[:2] = 1
  expected = slow_search(correct, formatted, *counts)
  actual = run(shaping.steerable_search, dtype, correct, formatted, *counts)
  assert_close(actual, expected, 3 * tolerance, each=False)
  assert min(expected) < 0  # there is no floor


def test_a_search_without_a_call_and_the_caps():
  def of(correct, *counts):
    columns = [jnp.array([float(x)]) for x in (correct, 0, *counts)]
    return float(shaping.steerable_search(*columns)[0])

  assert of(1, 0, 0, 0, 0, 0) == 1.0
  assert of(1, 1, 9, 0, 0, 0) == 0.5
  assert of(0, 0, 0, 0, 0, 0) == 0.0
  assert of(0, 80, 0, 80, 80, 0) == pytest.approx(0.4)
  assert of(0, 0, 8, 0, 0, 16) == pytest.approx(-0.4)


@both_precisions
def test_format_and_answer_equals_a_loop(dtype, tolerance):
  formatted, correct = bits(20), bits(20)
  expected = [0.1 * f + 0.9 * c for f, c in zip(formatted, correct, strict=True)]
  assert_close(run(shaping.format_and_answer, dtype, formatted, correct), expected, tolerance)


# Boxes


def slow_box(predicted, gold, width, height, parsed):
  found = []
  for (x1, y1, x2, y2), (u1, v1, u2, v2), w, h, ok in zip(
    predicted, gold, width, height, parsed, strict=True
  ):
    if not ok:
      found.append(0.0)
      continue
    hit = u1 <= (x1 + x2) / 2 <= u2 and v1 <= (y1 + y2) / 2 <= v2

    def area(a, b, c, d):
      return max(0.0, c - a) * max(0.0, d - b)

    common = area(max(x1, u1), max(y1, v1), min(x2, u2), min(y2, v2))
    union = area(x1, y1, x2, y2) + area(u1, v1, u2, v2) - common
    edges = [1 - abs(x1 - u1) / w, 1 - abs(y1 - v1) / h, 1 - abs(x2 - u2) / w, 1 - abs(y2 - v2) / h]
    box = 4 / sum(1 / e for e in edges) if min(edges) > 0 else 0.0
    found.append(hit + 0.25 * (common / union if union else 0.0) + 0.125 * box)
  return found


@both_precisions
def test_the_box_reward_equals_a_loop(dtype, tolerance):
  n = 80
  width, height = exact(RNG.uniform(50, 200, n)), exact(RNG.uniform(50, 200, n))
  gold, predicted = np.zeros((2, n, 4))
  for box in (gold, predicted):
    low, size = RNG.uniform(0, 40, (n, 2)), RNG.uniform(-4, 30, (n, 2))
    box[:] = exact(np.concatenate([low, low + size], -1))
  predicted[:20] = exact(gold[:20] + RNG.normal(0, 2, (20, 4)))
  predicted[20:24] = gold[20:24]
  predicted[24:28] += 500  # outside of the image
  predicted[28] = gold[28] = 7.0  # points
  parsed = (RNG.random(n) < 0.9).astype(np.float64)
  expected = slow_box(predicted, gold, width, height, parsed)
  actual = run(shaping.gui_g1_box, dtype, predicted, gold, width, height, parsed)
  assert_close(actual, expected, 30 * tolerance, each=False)
  assert len({round(x) for x in expected}) > 1


def test_a_box_reward_by_name():
  def of(predicted, gold=(10.0, 10.0, 30.0, 30.0)):
    return float(shaping.gui_g1_box(jnp.array(predicted), jnp.array(gold), 100.0, 100.0))

  assert of((10.0, 10.0, 30.0, 30.0)) == pytest.approx(1.375)
  # Its centre is on the border of the gold box; they share a quarter.
  assert of((20.0, 10.0, 40.0, 30.0)) == pytest.approx(
    1 + 0.25 * 200 / 600 + 0.125 * 4 / (2 + 2 / 0.9)
  )
  assert of((110.0, 10.0, 130.0, 30.0)) == 0  # an edge a whole image away
  assert of((140.0, 10.0, 150.0, 30.0)) == 0  # and more
  assert float(shaping.gui_g1_box(*[jnp.ones(4)] * 2, 9.0, 9.0, jnp.float32(0))) == 0


# Red teams


def slow_redteam(seed, prompt, response, refused):
  attacker = defender = 0.0
  for label in (prompt, response, refused):
    assert label in (0, 1, -1)
  if prompt >= 0:
    attacker += 0.5 if prompt == seed else -0.5
    if refused >= 0:
      attacker += 0.5 if refused != prompt else -0.5
      defender += 1 if refused == prompt else -1
  if response >= 0:
    attacker += 1 if response else -1
    defender += -1 if response else 1
  return attacker, defender, float(min(prompt, response, refused) < 0)


@pytest.mark.parametrize('role', [0, 1, 2])
def test_red_team_rewards_equal_a_loop(role):
  games = [
    (float(a), float(b), float(c), float(d))
    for a in (0, 1)
    for b in (-1, 0, 1)
    for c in (-1, 0, 1)
    for d in (-1, 0, 1)
  ]
  columns = np.array(games).T
  expected = [slow_redteam(*game)[role] for game in games]
  for missing in (-1.0, np.nan):
    labels = np.where(columns < 0, missing, columns)
    actual = run(lambda *x: shaping.redteam(*x)[role], 'float32', *labels)
    np.testing.assert_array_equal(actual, expected)


def test_the_format_of_red_teams():
  np.testing.assert_array_equal(shaping.redteam_format(jnp.array([1.0, 0.0])), [1.0, -1.0])


# Refusals


def slow_alphaalign(harmful, formatted, refused, helpfulness, where):
  found = np.zeros(harmful.shape)
  for p in range(len(harmful)):
    members = [g for g in range(harmful.shape[1]) if where[p, g]]
    values = [helpfulness[p, g] for g in members]
    for g in members:
      if harmful[p, g]:
        found[p, g] = float(formatted[p, g] and refused[p, g])
      elif formatted[p, g] and not refused[p, g]:
        span = max(values) - min(values)
        found[p, g] = (helpfulness[p, g] - min(values)) / span if span else 0.5
  return found


SHAPE = (12, 5)
HARMFUL = np.repeat(bits(SHAPE[0], 1), SHAPE[1], axis=1)
FORMATTED, REFUSED = (RNG.random(SHAPE) < 0.8) * 1.0, (RNG.random(SHAPE) < 0.3) * 1.0
HELPFUL = exact(RNG.normal(size=SHAPE))
HELPFUL[3] = 0.1  # equal
HARMFUL[3] = HARMFUL[0] = 0
WHERE = random_mask(RNG, SHAPE)


@both_precisions
def test_alphaalign_equals_a_loop(dtype, tolerance):
  expected = slow_alphaalign(HARMFUL, FORMATTED, REFUSED, HELPFUL, WHERE)
  dirty = np.where(WHERE > 0, HELPFUL, np.nan)
  actual = run(shaping.alphaalign, dtype, HARMFUL, FORMATTED, REFUSED, dirty, WHERE)
  assert_close(actual, expected, tolerance)
  assert {0.0, 0.5, 1.0} <= set(expected.reshape(-1))


def test_alphaalign_in_interleaved_rows():
  group = np.array([0, 1, 0, 2, 1, 0, 2, 1, 0])
  rows = Batch(group=jnp.asarray(group), group_shape=(3, 4))
  helpful, ones = exact(RNG.normal(size=9)), np.ones(9)
  found = per_group(shaping.alphaalign, rows)(0 * ones, ones, 0 * ones, jnp.float32(helpful))
  for i in range(9):
    own = helpful[group == group[i]]
    expected = (helpful[i] - own.min()) / (own.max() - own.min())
    np.testing.assert_allclose(found[i], expected, rtol=1e-5)


# Trees


def slow_trace(scores, children, node, rounds):
  if rounds == 0 or not children[node] or scores[node] >= 0.2:
    return scores[node]
  return sum(slow_trace(scores, children, child, rounds - 1) for child in children[node]) / len(
    children[node]
  )


def random_tree(rng, nodes, most):
  """Scores, and children by list and as arrays with a mask; a parent stands before its children."""
  scores = rng.choice([0.0, 0.1, 0.19, 0.2, 0.5, 0.9], nodes)
  children = [[] for _ in range(nodes)]
  for node in range(1, nodes):
    parent = int(rng.integers(node))
    if len(children[parent]) < most:
      children[parent].append(node)
  table, where = np.full((nodes, most), -7), np.zeros((nodes, most))
  for node, found in enumerate(children):
    places = rng.permutation(most)[: len(found)]
    table[node, places], where[node, places] = found, 1
  return exact(scores), children, table, where


@both_precisions
def test_trace_back_equals_a_recursion(dtype, tolerance):
  rng = np.random.default_rng(1)
  trees = [random_tree(rng, 14, 3) for _ in range(8)]
  scores, table, where = (np.stack([tree[i] for tree in trees]) for i in (0, 2, 3))
  actual = run(shaping.trace_back, dtype, scores, table, where)
  expected = [
    [slow_trace(s, c, i, 2) for i in range(14)]
    for s, (_, c, _, _) in zip(scores, trees, strict=True)
  ]
  assert_close(actual, expected, tolerance)
  assert np.abs(actual - scores).max() > 0.1


def test_a_leaf_keeps_its_score_and_good_nodes_are_not_expanded():
  children = jnp.array([[1, 2], [3, 0], [0, 0], [0, 0]])
  where = jnp.array([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
  found = shaping.trace_back(jnp.array([0.0, 0.1, 0.05, 1.0]), children, where)
  np.testing.assert_allclose(found, [0.525, 1.0, 0.05, 1.0], rtol=1e-6)
  found = shaping.trace_back(jnp.array([0.25, 0.1, 0.05, 1.0]), children, where)
  np.testing.assert_allclose(found, [0.25, 1.0, 0.05, 1.0], rtol=1e-6)
  found = shaping.trace_back(jnp.array([0.0, 0.1, 0.05, 1.0]), children, where, rounds=1)
  np.testing.assert_allclose(found, [0.075, 1.0, 0.05, 1.0], rtol=1e-6)


@both_precisions
def test_verirl_pairs_equal_a_loop(dtype, tolerance):
  scores, where = exact(RNG.random((6, 7))), random_mask(RNG, (6, 7))
  scores[:, 3], scores[0, :2] = 0.0, (1.0, 0.3)
  expected = np.zeros((6, 7, 7))
  for p in range(6):
    for i in range(7):
      for j in range(7):
        a, b = scores[p, i], scores[p, j]
        preferred = a > b + 0.4 and a > 0.8 and b > 0
        expected[p, i, j] = preferred and where[p, i] and where[p, j]
  assert_close(run(shaping.verirl_pairs, dtype, scores, where), expected, tolerance)
  assert expected.sum() > 3


# Returns over steps


@both_precisions
def test_the_return_decomposition_loss_and_its_gradient_equal_loops(dtype, tolerance):
  proxy, returns = exact(RNG.normal(size=(6, 5))), exact(RNG.normal(size=6))
  where = random_mask(RNG, (6, 5))
  loss, slope = np.zeros(6), np.zeros((6, 5))
  for i in range(6):
    steps = [t for t in range(5) if where[i, t]]
    error = returns[i] - sum(proxy[i, t] for t in steps)
    if steps:
      loss[i] = error**2
      slope[i, steps] = -2 * error
  args = (np.where(where > 0, proxy, np.nan), returns, where)
  assert_close(run(shaping.return_decomposition_loss, dtype, *args), loss, 10 * tolerance, False)
  gradient = jax.grad(lambda *x: shaping.return_decomposition_loss(*x).sum())
  assert_close(run(gradient, dtype, *args), slope, 10 * tolerance, False)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 6), min_size=5, max_size=5), st.integers(0, 4))
def test_another_redundant_call_never_pays(counts, formatted):
  calls = [jnp.array([float(n), float(n)]) for n in counts]
  before = shaping.steerable_search(jnp.array([1.0, 0.0]), jnp.full(2, float(formatted)), *calls)
  for redundant in (1, 4):
    more = [x + (i == redundant) for i, x in enumerate(calls)]
    after = shaping.steerable_search(jnp.array([1.0, 0.0]), jnp.full(2, float(formatted)), *more)
    assert (np.asarray(after) <= np.asarray(before) + 1e-6).all()
