"""Methods that give credit by step or segment, and those that read what a rollout adds."""

import math

import loops
import numpy as np
from harness import Case, Expected
from parity import exact

from rljax import advantages, methods


def clipped(p, found, w, low=0.2, high=0.2):
  loss, gradient, _, size = loops.clipped_tokens(p, found, w, low, high)
  return Expected(loss, {'logp': gradient}, size)


def spread(found, p):
  return np.repeat(np.asarray(found)[:, None], p['mask'].shape[1], axis=1)


def places(p, low=None):
  """Trained tokens, of those with `low` true if it is given."""
  kept = loops.trained(p)
  return [(i, t) for i, ts in enumerate(kept) for t in ts if low is None or low[i, t]]


def whitened(x, at):
  """`x` standardised over the places `at`, by the unbiased variance; 0 elsewhere."""
  found, values = np.zeros(x.shape), [x[place] for place in at]
  if len(set(values)) > 1:
    mean = sum(values) / len(values)
    variance = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
    for place in at:
      found[place] = (x[place] - mean) / math.sqrt(variance + 1e-8)
  return found


def ranks(p):
  """The place of each row within its group."""
  seen = {}
  return np.array(
    [seen.setdefault(int(g), []).append(0) or len(seen[int(g)]) - 1 for g in p['group']]
  )


# GiGPO, HGPO


def agent(p):
  """Two episodes a task; the rows of a task in turn, three states."""
  rank = ranks(p)
  return {
    'step_rewards': exact(p['correct'] * (rank % 3) - 0.1 * (rank % 2)),
    'trajectory': rank % 2,
    'step': rank // 2,
    'state': np.array([5, 5, 7, 7, 5])[rank],
  }


def returns_of(p, gamma):
  a, group = agent(p), p['group']
  found = np.zeros(len(group))
  for i in range(len(group)):
    for j in range(len(group)):
      if group[i] == group[j] and a['trajectory'][i] == a['trajectory'][j]:
        distance = a['step'][j] - a['step'][i]
        found[i] += gamma**distance * a['step_rewards'][j] if distance >= 0 else 0
  return found


def moments(values, ddof):
  mean = values[0] if len(set(values)) == 1 else sum(values) / len(values)
  deviation = 0.0
  if len(values) > ddof:
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - ddof))
  return mean, deviation


def slow_gigpo(scaled, every, weight=1.0, gamma=0.95):
  def slow(p):
    a, returns, found = agent(p), returns_of(p, gamma), []
    for i in range(len(returns)):
      task = [j for j in range(len(returns)) if p['group'][j] == p['group'][i]]
      counted = [float(p['rewards'][j]) for j in task if every or a['step'][j] == 0]
      mean, deviation = moments(counted, 1) if len(counted) > 1 else (0.0, 1.0)
      episode = (p['rewards'][i] - mean) / (deviation + 1e-6 if scaled else 1)
      equals = [returns[j] for j in task if a['state'][j] == a['state'][i]]
      mean, deviation = moments(equals, 1) if len(equals) > 1 else (equals[0], 1.0)
      among = (returns[i] - mean) / (deviation + 1e-6 if scaled else 1)
      found.append(episode + weight * among)
    return clipped(p, spread(found, p), loops.weights(p, 'token_mean'))

  return slow


def slow_hgpo(scaled, depth, gamma=0.95):
  def slow(p):
    a, returns, found = agent(p), returns_of(p, gamma), []
    seen = []
    for i in range(len(returns)):
      path = sorted(
        (a['step'][j], a['state'][j])
        for j in range(len(returns))
        if p['group'][j] == p['group'][i]
        and a['trajectory'][j] == a['trajectory'][i]
        and a['step'][j] <= a['step'][i]
      )
      seen.append(tuple(s for _, s in path))
    for i in range(len(returns)):
      top = bottom = 0.0
      for k in range(1, depth + 2):
        members = [
          returns[j]
          for j in range(len(returns))
          if p['group'][j] == p['group'][i]
          and min(len(seen[i]), len(seen[j])) >= k
          and seen[i][-k:] == seen[j][-k:]
        ]
        if len(members) > 1:
          mean, deviation = moments(members, 0)
          level = (returns[i] - mean) / (deviation + 1e-6 if scaled else 1)
          top, bottom = top + (k + 1) * level, bottom + (k + 1) * (level != 0)
      found.append(top / (bottom + 1e-6))
    return clipped(p, spread(found, p), loops.weights(p, 'token_mean'))

  return slow


# SPO


def sampled_probs(p):
  return np.exp(p['logp'] if p['old'] is None else p['old'])


def unlikely_clipped(p, found):
  """The clipped loss of unlikely tokens, log-ratios held to +-10."""
  at = places(p, sampled_probs(p) < 0.9)
  loss, size, gradient = 0.0, 0.0, np.zeros(p['mask'].shape)
  for i, t in at:
    d = 0.0 if p['old'] is None else p['logp'][i, t] - p['old'][i, t]
    value, slope, _ = loops.clipped(max(-10.0, min(10.0, d)), found[i, t], 0.2, 0.2)
    loss, size = loss + value / len(at), size + abs(value) / len(at)
    gradient[i, t] = slope / len(at) if abs(d) <= 10 else 0.0
  return Expected(loss, {'logp': gradient}, size)


def chain(p):
  rng = np.random.default_rng(0)
  return {
    'cuts': (rng.random(p['mask'].shape) < 0.5) * 1.0,
    'values_at_cuts': exact(rng.random(p['mask'].shape)),
  }


def slow_chain(p):
  a, probs, rises = chain(p), sampled_probs(p), np.zeros(p['mask'].shape)
  for i, row in enumerate(p['mask']):
    before, waiting = None, []
    for t in [t for t, m in enumerate(row) if m > 0]:
      if a['cuts'][i, t] > 0:
        for u in waiting:
          rises[i, u] = 0 if before is None else a['values_at_cuts'][i, t] - before
        before, waiting = a['values_at_cuts'][i, t], []
      waiting.append(t)
    for u in waiting:
      rises[i, u] = 0 if before is None else p['rewards'][i] - before
  rises[probs > 0.9] = 0
  return unlikely_clipped(p, whitened(rises, places(p, probs < 0.9) or places(p)))


def edges(p):
  parents = np.array([0.0, 0.25, 1.0])[ranks(p) % 3]
  return {'parent_value': parents, 'parent_deviation': 0.1 + 0.5 * parents}


def slow_tree(scaled):
  def slow(p):
    a = edges(p)
    rises = p['rewards'] - a['parent_value']
    if scaled:
      rises = rises / (a['parent_deviation'] + 1e-8)
    kept = np.ones(len(rises)) if p['keep'] is None else p['keep']
    p = {**p, 'keep': kept * (rises != 0)}
    at = places(p, sampled_probs(p) < 0.9) or places(p)
    return unlikely_clipped(p, whitened(spread(rises, p), at))

  return slow


# SPAE, TP-GRPO


def steps(p):
  """Up to four steps a completion, tokens two by two; some completions have none."""
  rng = np.random.default_rng(1)
  rows, length = p['mask'].shape
  count = np.array([3, 2, 4, 0, 1])[ranks(p) % 5]
  return {
    'potentials': exact(rng.uniform(-1, 1, (rows, 4)) + 1.0 * (rng.random((rows, 4)) < 0.4)),
    'labels': (rng.random((rows, 4)) < 0.5) * 1.0,
    'num_steps': count,
    'step_id': np.tile(np.arange(length) // 2, (rows, 1)),
  }


def slow_spae(alpha=0.5, xi=0.5, threshold=0.9):
  def slow(p):
    a, trained = steps(p), loops.trained(p)
    real = [n if ts else 0 for n, ts in zip(a['num_steps'], trained, strict=True)]
    rise = {
      (i, k): a['potentials'][i, k] - a['potentials'][i, k - 1] if k else 0.0
      for i, n in enumerate(real)
      for k in range(n)
    }
    low, high = min(rise.values(), default=0), max(rise.values(), default=0)
    grown = {at: math.exp((d - low) / (high - low) if high > low else 0) for at, d in rise.items()}
    mean = sum(grown.values()) / max(len(grown), 1)
    centred = loops.group_advantages(p, p['rewards'], 'center')
    x = np.zeros(p['mask'].shape)
    for i, ts in enumerate(trained):
      for t in ts:
        x[i, t] = centred[i]
        if real[i]:
          k = min(a['step_id'][i, t], real[i] - 1)
          solved = sum(1 for phi in a['potentials'][i, :k] if phi > threshold)
          fade = 1 - alpha * (1 - math.exp(-solved))
          x[i, t] = centred[i] * fade + xi * (grown[i, k] - mean)
    return clipped(p, whitened(x, places(p)), loops.weights(p, 'token_mean'), 0.2, 0.28)

  return slow


def slow_tp_grpo(alpha):
  """Adds the rewards of a token's thought and of all later ones."""

  def slow(p):
    a, z = steps(p), loops.group_advantages(p, p['rewards'], 'grpo')
    found = spread(z, p)
    for i, n in enumerate(a['num_steps']):
      rows = loops.members(p)[int(p['group'][i])]
      accuracy = sum(p['correct'][j] for j in rows) / len(rows)
      labels = [*a['labels'][i, : max(n - 1, 0)], 1.0]  # the last step is the answer
      thoughts = []
      for k in range(n):
        if k == 0 or labels[k] != labels[k - 1]:
          thoughts.append([])
        thoughts[-1].append(k)
      of_step, total = {}, 0.0
      for number, thought in enumerate(reversed(thoughts)):
        right = labels[thought[0]] > 0
        price = alpha * accuracy if p['correct'][i] > 0 else z[i]
        total += z[i] if number == 0 else price if right else -price
        of_step |= dict.fromkeys(thought, total)
      for t in range(found.shape[1]):
        if n:
          found[i, t] = of_step[min(a['step_id'][i, t], n - 1)]
    return clipped(p, found, loops.weights(p, 'sequence_mean'))

  return slow


# ADHint, VSPO


def hints(p):
  rng = np.random.default_rng(2)
  hinted = (ranks(p) % 2 == 1) * 1.0
  hint = hinted[:, None] * (np.arange(p['mask'].shape[1]) < 3)
  return {
    'hinted': hinted,
    'hint_mask': hint,
    'old_entropy': exact(rng.uniform(0, 2, p['mask'].shape)),
  }


def slow_adhint(p):
  a, z = hints(p), loops.group_advantages(p, p['rewards'], 'grpo')
  found = spread(z, p)
  for rows in loops.members(p).values():
    given = [p['rewards'][i] for i in rows if a['hinted'][i]]
    free = [p['rewards'][i] for i in rows if not a['hinted'][i]]
    if given and free:
      harder = (1 - sum(free) / len(free)) - (1 - sum(given) / len(given))
      for i in rows:
        if (z[i] > 0 and not a['hinted'][i]) or (z[i] < 0 and a['hinted'][i]):
          found[i] *= math.exp(harder)
  for i, row in enumerate(p['mask']):
    own = [a['old_entropy'][i, t] for t, m in enumerate(row) if m and not a['hint_mask'][i, t]]
    own = sum(own) / len(own) if own else 0.0
    for t in range(len(row)):
      if a['hint_mask'][i, t]:
        distance = abs(a['old_entropy'][i, t] - own)
        weight = math.exp(-distance / own) if own else float(distance == 0)
        found[i, t] *= 0 if z[i] < 0 else weight
  return clipped(p, found, loops.weights(p, 'sequence_mean'))


def copies(p):
  return {'copies': np.array([1.0, 2.0, 2.0, 1.0])[p['group'] % 4]}


def slow_vspo(max_reward, width):
  def slow(p):
    z, value = loops.group_advantages(p, p['rewards'], 'grpo'), {}
    for g, rows in loops.members(p).items():
      rewards = [float(p['rewards'][i]) for i in rows]
      mean, deviation = moments(rewards, 1)
      value[g] = (max_reward - mean) * deviation
    average = sum(value.values()) / len(value)
    for i, g in enumerate(p['group']):
      relative = value[int(g)] / average if average > 0 else 1.0
      z[i] *= min(1 + width, max(1 - width, relative)) / copies(p)['copies'][i]
    return clipped(p, spread(z, p), loops.weights(p, 'sequence_mean'))

  return slow


CASES = {
  'gigpo': Case(methods.gigpo(), slow_gigpo(False, False), agent),
  'gigpo_scaled, every step': Case(
    methods.gigpo_scaled(weight=0.5, gamma=0.5, counted=advantages.every_step),
    slow_gigpo(True, True, 0.5, 0.5),
    agent,
  ),
  'hgpo': Case(methods.hgpo(), slow_hgpo(True, 2), agent),
  'hgpo_centered, depth 1': Case(
    methods.hgpo_centered(depth=1, gamma=0.8), slow_hgpo(False, 1, 0.8), agent
  ),
  'spo_chain': Case(methods.spo_chain(), slow_chain, chain),
  'spo_tree': Case(methods.spo_tree(), slow_tree(False), edges),
  'spo_tree_scaled': Case(methods.spo_tree_scaled(), slow_tree(True), edges),
  'spae': Case(methods.spae(), slow_spae(), steps),
  'tp_grpo': Case(methods.tp_grpo(alpha=0.7), slow_tp_grpo(0.7), steps),
  'adhint': Case(methods.adhint(), slow_adhint, hints),
  'vspo': Case(methods.vspo(max_reward=1.2, width=0.5), slow_vspo(1.2, 0.5), copies),
}
