"""Tournaments with a judge who is asked: same places as the matrix, few questions, failures."""

import random

import jax
import numpy as np
import pytest

from rljax import shaping, verifiers

EVERY = ['knock_out', 'swiss', 'double_elimination']


def judge_of(scores):
  """What a judge says of a pair whose first member gets `scores[i, j]`, second `scores[j, i]`."""
  return lambda i, j: (scores[i, j] / 2, scores[j, i] / 2)


def play(name, judge, size, seed=0, **settings):
  if name == 'knock_out':
    return verifiers.knock_out(judge, size, **settings)
  return getattr(verifiers, name)(judge, size, np.random.default_rng(seed), **settings)


def test_the_knock_out_equals_that_of_the_matrix_with_fewer_questions():
  rng, most = np.random.default_rng(0), 9
  scores = np.float32(rng.integers(0, 6, (90, most, most)))
  sizes = 1 + np.arange(90) % most
  where = np.arange(most) < sizes[:, None]
  places = jax.jit(shaping.single_elimination)(scores, where)
  expected = shaping.place_rewards(places, where)
  for i, size in enumerate(sizes.tolist()):
    found = verifiers.knock_out(judge_of(scores[i]), size)
    np.testing.assert_allclose(found.rewards, expected[i, :size], atol=1e-6)
    assert found.asked == 4 * (size - 1) and found.failed == 0


@pytest.mark.parametrize('name', EVERY)
@pytest.mark.parametrize('size', [2, 3, 5, 8])
def test_a_consistent_judge_puts_the_best_first_and_the_worst_below_half(name, size):
  for seed in range(20):
    strength = np.random.default_rng(seed).permutation(size)
    scores = np.broadcast_to(strength[:, None], (size, size)) * 1.0
    rewards = play(name, judge_of(scores), size, seed).rewards
    assert np.argmax(rewards) == np.argmax(strength)
    # Two of three may have won once in as many rounds, and then have met equally good opponents.
    assert rewards[np.argmin(strength)] <= 0.5
    assert rewards.min() >= 0 and rewards.max() <= 1


@pytest.mark.parametrize('name', EVERY)
def test_one_alone_gets_nothing_without_a_question(name):
  found = play(name, judge_of(np.zeros((1, 1))), 1)
  assert found.rewards.tolist() == [0.0] and found.asked == 0


@pytest.mark.parametrize('name', EVERY)
def test_a_judge_who_prefers_the_first_shown_ranks_as_one_who_does_not(name):
  scores = np.random.default_rng(0).normal(size=(7, 7))

  def biased(i, j):
    one, other = judge_of(scores)(i, j)
    return one + 100.0, other

  fair, unfair = (play(name, judge, 7) for judge in (judge_of(scores), biased))
  np.testing.assert_array_equal(fair.rewards, unfair.rewards)
  assert len(set(fair.rewards.tolist())) > 1


@pytest.mark.parametrize('name', EVERY)
def test_a_judge_who_fails_now_and_then_is_asked_again(name):
  scores = np.random.default_rng(1).normal(size=(6, 6))
  chance = random.Random(0)

  def moody(i, j):
    if chance.random() < 0.3:
      raise TimeoutError
    if chance.random() < 0.2:
      return float('nan'), 1.0
    return judge_of(scores)(i, j)

  steady, found = play(name, judge_of(scores), 6), play(name, moody, 6, tries=100)
  np.testing.assert_array_equal(found.rewards, steady.rewards)
  assert found.failed == 0 and found.asked == steady.asked


@pytest.mark.parametrize('name', EVERY)
def test_a_judge_who_never_answers_is_counted_after_ten_tries(name):
  questions = []

  def broken(i, j):
    questions.append((i, j))
    raise RuntimeError('no')

  found = play(name, broken, 5)
  assert found.failed == found.asked > 0 and len(questions) == 10 * found.asked


def test_who_failed_to_be_judged_has_five_of_each_order():
  """Member 2 cannot be judged, and ends where ten points put it: behind 12 and before 8."""

  def judge(i, j):
    if 2 in (i, j):
      raise ValueError
    return {0: 0.0, 1: 6.0, 3: 4.0}[i], {0: 0.0, 1: 6.0, 3: 4.0}[j]

  found = verifiers.knock_out(judge, 4)
  # Seeds: 1 with 12, 2 with 10, 3 with 8, 0 with (0 + 10 + 0) / 3; pairs 1-0 and 2-3; the draw of
  # 10 and 10 keeps who was named first, 2, and then 1.
  np.testing.assert_allclose(found.rewards, [0, 1, 2 / 3, 1 / 3], rtol=1e-6)
  assert found.failed == 6


def slow_swiss(scores, size, rng, rounds):
  """The same system with players as dictionaries, every player looked up by its number."""
  players = [{'id': i, 'points': 0.0, 'met': []} for i in range(size)]
  for _ in range(rounds):
    order = sorted((players[i] for i in rng.permutation(size)), key=lambda p: -p['points'])
    rest = order.pop() if size % 2 else None
    done, pairs = set(), []
    for n, p in enumerate(order):
      if p['id'] in done:
        continue
      later = [q for q in order[n + 1 :] if q['id'] not in done]
      fresh = [q for q in later if q['id'] not in p['met']]
      q = (fresh or later)[0]
      done |= {p['id'], q['id']}
      pairs.append((p, q))
    for p, q in pairs:
      a, b = scores[p['id'], q['id']], scores[q['id'], p['id']]
      p['points'] += 1.0 if a > b else 0.5 if a == b else 0.0
      q['points'] += 1.0 if b > a else 0.5 if a == b else 0.0
      p['met'].append(q['id'])
      q['met'].append(p['id'])
    if rest:
      rest['points'] += 1.0
  key = {p['id']: (p['points'], sum(players[i]['points'] for i in set(p['met']))) for p in players}
  ranked = sorted(key, key=lambda i: key[i], reverse=True)
  rewards = [0.0] * size
  for i in range(size):
    places = [place for place, j in enumerate(ranked, 1) if key[j] == key[i]]
    rewards[i] = sum((size - place) / (size - 1) for place in places) / len(places)
  return rewards


@pytest.mark.parametrize('size', [2, 3, 4, 5, 8])
@pytest.mark.parametrize('rounds', [None, 1, 3])
def test_swiss_equals_a_system_of_dictionaries(size, rounds):
  number = {2: 1, 3: 2, 4: 2, 5: 3, 8: 3}[size] if rounds is None else min(rounds, size - 1)
  for seed in range(10):
    scores = np.random.default_rng(100 + seed).integers(0, 3, (size, size)) * 1.0
    found = play('swiss', judge_of(scores), size, seed, rounds=rounds)
    expected = slow_swiss(scores, size, np.random.default_rng(seed), number)
    np.testing.assert_allclose(found.rewards, expected, rtol=1e-6, atol=1e-7)
    assert found.asked == 2 * number * (size // 2)


@pytest.mark.parametrize('size', [2, 3, 4, 5, 6, 7, 8])
def test_in_double_elimination_all_but_the_champion_lose_twice_or_the_final(size):
  for seed in range(10):
    scores, lost = np.random.default_rng(seed).normal(size=(size, size)), []

    def judge(i, j, scores=scores, lost=lost):
      lost.append(i if scores[i, j] < scores[j, i] else j)
      return judge_of(scores)(i, j)

    rewards = play('double_elimination', judge, size, seed).rewards
    losses = np.bincount(lost, minlength=size) / 2  # both orders
    best, second = np.argsort(-rewards)[:2]
    # There is one final, whoever comes from the second bracket.
    assert losses[best] <= 1 and 1 <= losses[second] <= 2
    assert (np.delete(losses, [best, second]) == 2).all()
    assert sorted(rewards.tolist()) == pytest.approx([k / (size - 1) for k in range(size)])


def slow_double(scores, size, rng):
  """The same tournament with two lists of names and a record of every match."""
  record, history = [], []

  def match_round(names):
    names = [names[i] for i in rng.permutation(len(names))]
    resting = [names.pop()] if len(names) % 2 else []
    up, down = [], []
    while names:
      a, b = names.pop(0), names.pop(0)
      record.extend([(a, scores[a, b]), (b, scores[b, a])])
      up.append(a if scores[a, b] >= scores[b, a] else b)
      down.append(b if up[-1] == a else a)
    return resting + up, down

  upper, fallen = list(range(size)), []
  while len(upper) > 1:
    upper, down = match_round(upper)
    fallen.append(down)
  lower = []
  while fallen or len(lower) > 1:
    lower += fallen.pop(0) if fallen else []
    if len(lower) > 1:
      lower, down = match_round(lower)
      history.append(down)
  first, second = match_round(upper + lower)
  order = first + second
  for down in reversed(history):
    means = {n: np.mean([got for name, got in record if name == n]) for n in down}
    order += sorted(down, key=lambda n: -means[n])
  return [1 - order.index(n) / (size - 1) for n in range(size)]


@pytest.mark.parametrize('size', [2, 3, 5, 6, 8])
def test_double_elimination_equals_one_of_lists(size):
  for seed in range(10):
    scores = np.random.default_rng(50 + seed).normal(size=(size, size))
    found = play('double_elimination', judge_of(scores), size, seed).rewards
    expected = slow_double(scores, size, np.random.default_rng(seed))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def test_who_leaves_in_the_same_round_stands_by_its_mean_score():
  """Four players: 1 and 2 leave in the first round of the knock-out, 2 with more points."""
  scores = np.zeros((4, 4))
  scores[:, 0] = [0, 3, 2, 1]
  scores[0] = [0, 8, 8, 8]
  # Seeds 0, 1, 2, 3; pairs 0-3 and 1-2.
  scores[3, 0], scores[2, 1], scores[1, 2] = 1, 7, 6
  found = verifiers.knock_out(judge_of(scores), 4)
  assert found.rewards.tolist() == pytest.approx([1.0, (1 - 2 / 3), 2 / 3, 0.0])
