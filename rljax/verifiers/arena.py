"""Tournaments that ask a judge for the matches that they need, and for no others.

A judge is a function `(i, j) -> (score of i, score of j)` of two members of a group, in the order
in which they are shown; it may be slow, and it may raise. Where all pairs are judged anyway,
`rljax.shaping.arena` computes with the matrix, under jit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Judge = Callable[[int, int], tuple[float, float]]


class Tournament(NamedTuple):
  """How a tournament of one group ended.

  Attributes:
    rewards: float32 `[G]`, from 1 for the best to 0; `advantages.grpo` standardises them as the
      authors do.
    asked: how often the judge was asked for a pair in an order, retries not counted.
    failed: how many of these gave nothing but exceptions and so 5.0 to both. Watch it: a judge that
      always fails ranks by chance.
  """

  rewards: np.ndarray
  asked: int
  failed: int


def knock_out(judge: Judge, size: int, *, tries: int = 10, default: float = 5.0) -> Tournament:
  """Seeded single elimination, the default of the authors: 2 (G - 1) matches of two orders each.

  Everyone plays the first member and is seeded by that; see `shaping.single_elimination`, which
  gives the same places.

  Args:
    judge: of two members.
    size: G; one member alone gets 0 without a question.
    tries: how often the judge is asked again that raises.
    default: what both get if it never answers.

  Source: arXiv 2601.06487; qqr's SingleEliminationGroupRewardModel.
  """
  play, failures = _matches(judge, tries, default)
  got: list[list[float]] = [[] for _ in range(size)]
  seeding = [play(i, 0) for i in range(1, size)]
  for i, (own, _) in enumerate(seeding, 1):
    got[i].append(own)
  if seeding:
    got[0].append(_mean([pivot for _, pivot in seeding]))
  seeds = sorted(range(size), key=lambda i: -_mean(got[i]))
  active = [seeds[seat] for seat in _bracket(size)]
  eliminated = []
  while len(active) > 1:
    pairs = list(zip(active[::2], active[1::2], strict=False))
    # The last of an odd number goes on without a match, to the first seat of the next round.
    going_on = active[2 * len(pairs) :]
    winners, losers = _play_all(play, pairs, got)
    active = going_on + winners
    eliminated.append(losers)
  return _tournament(failures, _by_round(active, eliminated, got))


def swiss(
  judge: Judge,
  size: int,
  rng: np.random.Generator,
  *,
  rounds: int | None = None,
  tries: int = 10,
  default: float = 5.0,
) -> Tournament:
  """Swiss system: who has as many points meets, nobody leaves.

  A win is 1 point, a draw 1/2, a round without an opponent 1. Opponents are drawn among those of
  equal points, not the same twice as long as others are left. Of equal points those whose opponents
  have more stand higher; who is equal in that too shares the mean of the places.

  Args:
    judge: of two members.
    size: G; one member alone gets 0 without a question.
    rng: draws who meets.
    rounds: None: `ceil(log2(G))`; at most `G - 1`.
    tries: how often the judge is asked again that raises.
    default: what both get if it never answers.

  Source: arXiv 2601.06487; qqr's SwissSystemGroupRewardModel, which shuffles its list of players
  and then takes a player's number for the place in it; here points go to who won them.
  """
  play, failures = _matches(judge, tries, default)
  points = np.zeros(size)
  met: list[set[int]] = [set() for _ in range(size)]
  if rounds is None:
    rounds = math.ceil(math.log2(max(size, 1)))
  for _ in range(min(rounds, size - 1)):
    waiting = sorted(rng.permutation(size).tolist(), key=lambda i: -points[i])
    bye = [waiting.pop()] if size % 2 else []
    pairs = []
    while waiting:
      one = waiting.pop(0)
      other = next((i for i in waiting if i not in met[one]), waiting[0])
      waiting.remove(other)
      pairs.append((one, other))
    for one, other in pairs:
      first, second = play(one, other)
      points[one] += 0.5 * (1 + np.sign(first - second))
      points[other] += 0.5 * (1 - np.sign(first - second))
      met[one].add(other)
      met[other].add(one)
    points[bye] += 1
  standing = [(points[i], sum(points[j] for j in met[i])) for i in range(size)]
  rewards = [
    (sum(other < own for other in standing) + (standing.count(own) - 1) / 2) / max(size - 1, 1)
    for own in standing
  ]
  return _tournament(failures, np.array(rewards))


def double_elimination(
  judge: Judge,
  size: int,
  rng: np.random.Generator,
  *,
  tries: int = 10,
  default: float = 5.0,
) -> Tournament:
  """Knock-out in which one lost match sends to a second bracket, and only another one home.

  In every round opponents are drawn, and one of an odd number rests. The losers of a round join the
  second bracket, which then plays a round too; its winner meets that of the first one once. Who
  left in the same round stands by the mean of what it got in all its matches.

  Args:
    judge: of two members.
    size: G; one member alone gets 0 without a question.
    rng: draws who meets.
    tries: how often the judge is asked again that raises.
    default: what both get if it never answers.

  Source: arXiv 2601.06487; qqr's DoubleEliminationGroupRewardModel.
  """
  play, failures = _matches(judge, tries, default)
  got: list[list[float]] = [[] for _ in range(size)]
  eliminated = []

  def play_round(players):
    drawn = [players[i] for i in rng.permutation(len(players))]
    pairs = list(zip(drawn[::2], drawn[1::2], strict=False))
    winners, losers = _play_all(play, pairs, got)
    return drawn[2 * len(pairs) :] + winners, losers

  first, drops = list(range(size)), []
  while len(first) > 1:
    first, losers = play_round(first)
    drops.append(losers)
  second: list[int] = []
  for dropped in drops:
    second = second + dropped
    if len(second) > 1:
      second, losers = play_round(second)
      eliminated.append(losers)
  while len(second) > 1:
    second, losers = play_round(second)
    eliminated.append(losers)
  champion = first
  if second:
    champion, losers = play_round(first + second)
    eliminated.append(losers)
  return _tournament(failures, _by_round(champion, eliminated, got))


def _matches(judge, tries, default):
  """`play(one, other)`, and a list that says of every question so far whether it failed."""
  failures = []

  def ask(one, other):
    for _ in range(tries):
      try:
        first, second = map(float, judge(one, other))
      except Exception:  # whatever a judge raises must not end a run; it is counted
        continue
      if math.isfinite(first) and math.isfinite(second):
        failures.append(False)
        return first, second
    failures.append(True)
    return default, default

  def play(one, other):
    """What both get, both orders added, so that a judge who favours a place favours nobody."""
    forth, back = ask(one, other), ask(other, one)
    return forth[0] + back[1], forth[1] + back[0]

  return play, failures


def _play_all(play, pairs, got):
  """Winners and losers in the order of the pairs; of a draw the first named wins."""
  winners, losers = [], []
  for one, other in pairs:
    first, second = play(one, other)
    got[one].append(first)
    got[other].append(second)
    winners.append(one if first >= second else other)
    losers.append(other if first >= second else one)
  return winners, losers


def _tournament(failures, rewards):
  return Tournament(np.asarray(rewards, np.float32), len(failures), sum(failures))


def _by_round(champion, eliminated, got):
  """Rewards by place: the champion, then who left in the last round, and so on."""
  places = list(champion)
  for losers in reversed(eliminated):
    places += sorted(losers, key=lambda i: -_mean(got[i]))
  rewards = np.zeros(len(got))
  rewards[places] = 1 - np.arange(len(got)) / (len(got) - 1) if len(got) > 1 else 0.0
  return rewards


def _bracket(size):
  """Seeds in the order in which they sit in the usual bracket, missing ones left out."""
  seats = [0]
  while len(seats) < size:
    seats = [seed for high in seats for seed in (high, 2 * len(seats) - 1 - high)]
  return [seed for seed in seats if seed < size]


def _mean(numbers):
  return sum(numbers) / max(len(numbers), 1)
