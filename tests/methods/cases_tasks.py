"""Methods that differ in their rewards: process scores, unit tests, ranks of failures, noise."""

import math

import jax
import loops
import numpy as np
from harness import Case, Expected
from parity import exact

from rljax import methods


def expected(problem, advantage):
  """GRPO's loss for advantages `[B]` or `[B, T]`."""
  w = loops.weights(problem, 'sequence_mean')
  if np.ndim(advantage) == 1:
    advantage = loops.spread(advantage, w.shape[1])
  loss, gradient, _, size = loops.clipped_tokens(problem, advantage, w, 0.2, 0.2)
  return Expected(loss, {'logp': gradient}, size)


def standardised(values, eps=1e-6):
  if len(values) < 2 or min(values) == max(values):
    return [0.0] * len(values)
  mean = sum(values) / len(values)
  scale = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1)) + eps
  return [(v - mean) / scale for v in values]


def in_groups(problem, rewards, eps=1e-6):
  out = np.zeros(len(rewards))
  for rows in loops.members(problem).values():
    out[rows] = standardised([rewards[i] for i in rows], eps)
  return out


def steps(problem):
  rng = np.random.default_rng(20)
  rows = len(problem['group'])
  count = rng.integers(0, 5, rows)
  return {
    'step_scores': exact(rng.uniform(0, 1, (rows, 4))),
    'step_mask': (np.arange(4) < count[:, None]) * 1.0,
  }


def prof(problem, size, penalty, max_steps):
  extras, score, kept = steps(problem), [], np.zeros(len(problem['group']))
  for i, right in enumerate(problem['correct']):
    values = extras['step_scores'][i][extras['step_mask'][i] > 0]
    mean = values.mean() if len(values) else 0.0
    mean -= penalty * (len(values) == 1 or len(values) >= max_steps)
    score.append(mean if right else -mean)
  advantage = np.zeros(len(score))
  for rows in loops.members(problem).values():
    right = sorted((i for i in rows if problem['correct'][i]), key=lambda i: -score[i])
    wrong = sorted((i for i in rows if not problem['correct'][i]), key=lambda i: -score[i])
    places = [(a, min(size, len(rows)) - a) for a in range(len(right) + 1)]
    places = [(a, b) for a, b in places if 0 <= b <= len(wrong)]
    a, b = max(places, key=lambda place: (place[0] * place[1], place[0]))
    chosen = right[:a] + wrong[:b]
    kept[chosen] = 1.0
    advantage[chosen] = standardised([problem['rewards'][i] for i in chosen])
  keep = kept if problem['keep'] is None else kept * problem['keep']
  return expected({**problem, 'keep': keep}, advantage)


TURNS, TESTS = 3, 4


def passes(problem):
  rng = np.random.default_rng(21)
  rows, length = problem['mask'].shape
  found = (rng.random((rows, TURNS, TESTS)) < 0.5) * 1.0
  turns = 1 + np.arange(rows) % TURNS
  for i in range(rows):
    found[i, turns[i] :] = -1.0
    if problem['group'][i] == 2:
      found[i, :, 3] = -1.0  # a prompt with fewer tests
  turn = np.arange(length) * TURNS // length  # from the last turn on it is the last one
  return {'passes': found, 'step_id': np.tile(turn, (rows, 1)) * 1.0}


def verpo(problem, alpha, beta, sigma, delta, gamma):
  extras = passes(problem)
  found, step_id = extras['passes'], extras['step_id']
  turns = [sum(found[i, s, 0] >= 0 for s in range(TURNS)) for i in range(len(found))]
  advantage = np.zeros(problem['mask'].shape)
  for rows in loops.members(problem).values():
    everything = [(i, s) for i in rows for s in range(turns[i])]
    tests = [j for j in range(TESTS) if found[rows[0], 0, j] >= 0]
    rho = {j: sum(found[i, s, j] for i, s in everything) / len(everything) for j in tests}
    weight = {}
    for j in tests:
      density = sum(math.exp(-((rho[j] - rho[k]) ** 2) / (2 * sigma**2)) for k in tests)
      weight[j] = math.exp(-alpha * rho[j]) / (density + delta)
    reward = {(i, s): sum(weight[j] * found[i, s, j] for j in tests) for i, s in everything}
    outcome = {i: problem['correct'][i] * gamma ** turns[i] for i in rows}
    for i in rows:
      of_rollout = outcome[i] - sum(outcome.values()) / len(rows)
      if len(set(outcome.values())) == 1:
        of_rollout = 0.0
      for t, s in enumerate(step_id[i]):
        s = min(int(s), turns[i] - 1)
        of_turn = reward[i, s] - sum(reward.values()) / len(reward)
        advantage[i, t] = of_rollout + beta * of_turn
  return expected(problem, advantage)


def old_entropy(problem):
  return {'old_entropy': exact(np.random.default_rng(22).exponential(1, problem['mask'].shape))}


def unsolved(problem):
  """Correctness of a problem of which every second prompt stays unsolved."""
  return {'correct': np.where(problem['group'] % 2 == 0, 0.0, problem['correct'])}


def serr(problem, share, max_reward):
  entropy, correct = old_entropy(problem)['old_entropy'], unsolved(problem)['correct']
  rewards = problem['rewards'].copy()
  for rows in loops.members(problem).values():
    if any(correct[i] for i in rows):
      continue
    failed = [i for i in rows if problem['truncated'][i]]
    peak, mean = {}, {}
    for i in failed:
      values = sorted(entropy[i][problem['mask'][i] > 0], reverse=True)
      top = values[: max(1, int(share * len(values)))]
      peak[i] = sum(top) / len(top) if top else 0.0
      mean[i] = sum(values) / len(values) if values else 0.0
    score = {i: sum(peak[i] > peak[j] and mean[i] < mean[j] for j in failed) for i in failed}
    for k, i in enumerate(sorted(failed, key=lambda i: -score[i])):
      rewards[i] = max_reward * (1 - k / (len(failed) - 1)) if len(failed) > 1 else max_reward
  return expected(problem, in_groups(problem, rewards))


def rere(problem):
  rewards = np.zeros(len(problem['group']))
  for rows in loops.members(problem).values():
    total = sum(1 / math.log2(k + 2) for k in range(len(rows)))
    if any(problem['correct'][i] for i in rows):
      for k, i in enumerate(rows):
        rewards[i] = 1.0 if problem['correct'][i] else -1 / math.log2(k + 2) / total
  return expected(problem, in_groups(problem, rewards, eps=1e-4))


def noisy(problem, probability, seed):
  groups = sorted(loops.members(problem))
  coins = jax.random.split(jax.random.key(seed))[1]
  heads = np.asarray(jax.random.uniform(coins, (len(groups), 1)))[:, 0] < probability
  assert heads.any() and not heads.all()
  correct = problem['correct']
  rewards = np.where(heads[problem['group']], 1 - correct, correct)
  return expected(problem, in_groups(problem, rewards))


PROF = {'size': 3, 'penalty': 0.25, 'max_steps': 4}
VERPO = {'alpha': 1.5, 'beta': 0.5, 'sigma': 0.25, 'delta': 0.01, 'gamma': 0.75}
SERR = {'share': 0.5, 'max_reward': 0.75}
NOISE = {'probability': 0.5, 'seed': 3}

CASES = {
  'prof': Case(methods.prof(**PROF), lambda p: prof(p, **PROF), steps),
  'verpo': Case(methods.verpo(**VERPO), lambda p: verpo(p, **VERPO), passes),
  'serr': Case(
    methods.serr(**SERR),
    lambda p: serr(p, **SERR),
    lambda p: old_entropy(p) | unsolved(p),
    ordered=('samples',),  # of equally good failures the first is ranked higher
  ),
  'rere': Case(methods.rere(), rere, ordered=('samples',)),  # they are beams
  'noisy_grpo': Case(
    methods.noisy_grpo(**NOISE),
    lambda p: noisy(p, **NOISE),
    ordered=('prompts',),  # who gets which coin
  ),
}
