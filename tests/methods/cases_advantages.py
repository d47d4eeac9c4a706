"""Methods that differ in their advantages: other baselines, scales and weights of prompts."""

import collections
import math

import jax.numpy as jnp
import loops
import numpy as np
from harness import Case, Expected
from parity import exact

from rljax import advantages, methods


def greedy(problem):
  rng = np.random.default_rng(5)
  return {'greedy_rewards': rng.integers(0, 2, len(problem['group'])).astype(np.float64)}


def answers(problem):
  wrong = np.random.default_rng(6).integers(1, 3, len(problem['group']))
  return {'answers': np.where(problem['correct'] > 0, 0, wrong).astype(np.float64)}


def old_entropy(problem):
  return {'old_entropy': exact(np.random.default_rng(7).exponential(1, problem['mask'].shape))}


def clipped(problem, advantage, kind, low=0.2, high=0.2):
  """PPO's loss of token ratios for advantages `[B]` or `[B, T]`."""
  w = loops.weights(problem, kind)
  if np.ndim(advantage) == 1:
    advantage = loops.spread(advantage, w.shape[1])
  loss, gradient, _, size = loops.clipped_tokens(problem, advantage, w, low, high)
  return Expected(loss, {'logp': gradient}, size)


def policy_gradient(problem, advantage):
  w = loops.weights(problem, 'sequence_sum_mean')
  loss, size, gradient = 0.0, 0.0, np.zeros(w.shape)
  for i, t in np.argwhere(w > 0):
    value = -w[i, t] * advantage[i, t] * problem['logp'][i, t]
    loss, size = loss + value, size + abs(value)
    gradient[i, t] = -w[i, t] * advantage[i, t]
  return Expected(loss, {'logp': gradient}, size)


def is_constant(values):
  return min(values) == max(values)


def deviation(values, ddof=1):
  mean = sum(values) / len(values)
  return math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - ddof))


def kept_rows(problem):
  keep = problem['keep']
  return [i for i in range(len(problem['group'])) if keep is None or keep[i] > 0]


def opo(problem):
  advantage = np.zeros(problem['mask'].shape)
  for rows in loops.members(problem).values():
    r = [problem['rewards'][i] for i in rows]
    n = [problem['mask'][i].sum() for i in rows]
    if is_constant(r):
      continue
    total = sum(n)
    baseline = sum(a * b for a, b in zip(r, n, strict=True)) / total if total else sum(r) / len(r)
    for i in rows:
      advantage[i] = problem['rewards'][i] - baseline
  return policy_gradient(problem, advantage)


def remax(problem, kl_coef):
  advantage = np.zeros(problem['mask'].shape)
  sampled = problem['logp'] if problem['old'] is None else problem['old']
  baseline = greedy(problem)['greedy_rewards']
  for i, row in enumerate(problem['mask']):
    value = problem['rewards'][i]
    for t in reversed([t for t, m in enumerate(row) if m > 0]):
      value -= kl_coef * (sampled[i, t] - problem['ref'][i, t])
      advantage[i, t] = value - baseline[i]
  return policy_gradient(problem, advantage)


def whitened(problem, centred, by_sequence=False):
  """Centred rewards standardised over trained tokens, or over sequences that have one."""
  places = loops.trained(problem)
  entries = [centred[i] for i, ts in enumerate(places) for _ in (ts[:1] if by_sequence else ts)]
  out = np.zeros(problem['mask'].shape)
  if len(entries) < 2 or is_constant(entries):
    return out
  mean, scale = sum(entries) / len(entries), math.sqrt(deviation(entries) ** 2 + 1e-8)
  for i, ts in enumerate(places):
    out[i, ts] = (centred[i] - mean) / scale
  return out


def reinforce_pp_baseline(problem):
  centred = loops.group_advantages(problem, problem['rewards'], 'center')
  return clipped(problem, whitened(problem, centred), 'token_mean')


def lite_ppo(problem):
  rewards = [problem['rewards'][i] for i in kept_rows(problem)]
  scale = (deviation(rewards) if len(rewards) > 1 else 0.0) + 1e-4
  centred = loops.group_advantages(problem, problem['rewards'], 'center')
  return clipped(problem, centred / scale, 'token_mean')


def dler(problem, by_sequence=False):
  finished = problem['truncated'] == 0
  rewards, correct = problem['rewards'] * finished, problem['correct'] * finished
  keep = np.zeros(len(rewards))
  keep[kept_rows(problem)] = 1.0
  for rows in loops.members(problem).values():
    if len(rows) > 1 and is_constant([correct[i] for i in rows]):
      keep[rows] = 0.0
  problem = {**problem, 'keep': keep}
  centred = loops.group_advantages(problem, rewards, 'center')
  return clipped(problem, whitened(problem, centred, by_sequence), 'token_mean', high=0.28)


def ngrpo(problem):
  advantage = np.zeros(len(problem['rewards']))
  for rows in loops.members(problem).values():
    everyone = [problem['rewards'][i] for i in rows] + [1.0]
    if is_constant(everyone):
      continue
    mean, scale = sum(everyone) / len(everyone), deviation(everyone) + 1e-6
    for i in rows:
      advantage[i] = (problem['rewards'][i] - mean) / scale
  return clipped(problem, advantage, 'token_mean', 0.16, 0.24)


def copo_numbers(problem, consistent=False):
  """Local and global advantage and the weight of the local one, `[B]` each."""
  ids, members = answers(problem)['answers'], loops.members(problem)
  local = loops.group_advantages(problem, problem['rewards'], 'grpo')
  between, weight, score = np.zeros(len(ids)), np.zeros(len(ids)), {}
  for g, rows in members.items():
    shares = [c / len(rows) for c in collections.Counter(ids[rows].tolist()).values()]
    entropy = -sum(q * math.log2(q + 1e-8) for q in shares)
    n = len(rows)
    factor = 1 - (1 - 1 / n) / math.log2(n) * entropy if consistent and n > 1 else 1.0
    score[g] = sum(problem['rewards'][i] for i in rows) / n * factor
    for i in rows:
      weight[i] = (problem['rewards'][i] != 0) / (1 + math.exp(-5 * (entropy - 1)))
  scores = list(score.values())
  if not is_constant(scores):
    for g, rows in members.items():
      between[rows] = (score[g] - sum(scores) / len(scores)) / (deviation(scores) + 1e-6)
  return local, between, weight


def dual_clipped(log_ratio, advantage, cap=3.0):
  if advantage < 0 and log_ratio > math.log(cap):
    return -advantage * cap, 0.0
  return loops.clipped(log_ratio, advantage, 0.2, 0.2)[:2]


def copo(problem):
  local, between, weight = copo_numbers(problem)
  w = loops.weights(problem, 'sequence_mean')
  loss, size, gradient = 0.0, 0.0, np.zeros(w.shape)
  for i, t in np.argwhere(w > 0):
    d = 0.0 if problem['old'] is None else problem['logp'][i, t] - problem['old'][i, t]
    for share, advantage in ((weight[i], local[i]), (1 - weight[i], between[i])):
      value, slope = dual_clipped(d, advantage)
      loss += w[i, t] * share * value
      size += w[i, t] * abs(share * value)
      gradient[i, t] += w[i, t] * share * slope
  return Expected(loss, {'logp': gradient}, size)


def dgpo(problem):
  members, advantage = loops.members(problem), np.zeros(len(problem['rewards']))
  lengths = [len(ts) for ts in loops.trained(problem)]
  valid = {}
  for g, rows in members.items():
    if not is_constant([problem['rewards'][i] for i in rows]):
      rate = sum(problem['correct'][i] for i in rows) / len(rows)
      valid[g] = math.exp(-(rate or 1.0) / 2.0)
  counted = sum(lengths[i] for g in valid for i in members[g])
  correction = sum(lengths) / counted if counted else 1.0
  for g in valid:
    rows = members[g]
    mean = sum(problem['rewards'][i] for i in rows) / len(rows)
    extent = sum(abs(problem['rewards'][i] - mean) for i in rows) + 1e-4
    weight = len(valid) * valid[g] / sum(valid.values())
    for i in rows:
      a = len(rows) * (problem['rewards'][i] - mean) / extent
      advantage[i] = a * weight * correction
  return clipped(problem, advantage, 'token_mean')


def a_grae_advantage(problem, released=False):
  kept = kept_rows(problem)
  omega = sum(problem['correct'][i] for i in kept) / max(len(kept), 1)
  z = loops.group_advantages(problem, problem['rewards'], 'grpo')
  out = z.copy()
  for rows in loops.members(problem).values():
    p = sum(problem['correct'][i] for i in rows) / len(rows)
    for i in rows:
      if 0 < p < 1:
        easy = 1 - math.sqrt(p) + 1e-6 if released else math.sqrt(1 - p)
        hard = math.sqrt(p) + (1e-6 if released else 0.0)
        out[i] = omega / 2 * z[i] / hard + (1 - omega) / 2 * z[i] / easy
      if out[i] > 0:
        out[i] *= min(1.0, omega)
  return out


def a_grae(problem):
  return clipped(problem, a_grae_advantage(problem), 'sequence_mean')


def canon_advantage(problem, metric, mu, alpha_high, alpha_low):
  out = np.zeros(len(problem['rewards']))
  for rows in loops.members(problem).values():
    if len(rows) < 2:
      continue
    order = sorted(rows, key=lambda i: metric[i])
    low, high = order[: len(rows) // 2], order[len(rows) // 2 :]
    mean = {id(half): sum(problem['rewards'][i] for i in half) / len(half) for half in (low, high)}
    for own, other, a, b in (
      (low, high, alpha_low, alpha_high),
      (high, low, alpha_high, alpha_low),
    ):
      for i in own:
        r = problem['rewards'][i]
        out[i] = mu * (a * r - b * mean[id(other)]) + (1 - mu) * (r - mean[id(own)])
    if is_constant([problem['rewards'][i] for i in rows]) and alpha_low == alpha_high == 1:
      out[rows] = 0.0
  return out


def canon_entropy(problem, mu, alpha, max_length):
  entropy = old_entropy(problem)['old_entropy']
  metric = [sum(entropy[i][m > 0]) / max(sum(m > 0), 1) for i, m in enumerate(problem['mask'])]
  advantage = canon_advantage(problem, metric, mu, 1.0, alpha)
  w = loops.weights(problem, 'constant', max_length)
  loss, gradient, _, size = loops.clipped_tokens(
    problem, loops.spread(advantage, w.shape[1]), w, 0.2, 0.2
  )
  return Expected(loss, {'logp': gradient}, size)


def riskpo_advantage(problem, size, quantiles=None, paper=False):
  """Advantages `[B]` and the scores of all bundles; quantiles None are those of these scores."""
  members, out = loops.members(problem), np.zeros(len(problem['rewards']))
  bundles, rewards = collections.defaultdict(list), problem['rewards']
  for g in sorted(members):
    bundles[g // size].append(members[g])
  places = {b: range(min(len(rows) for rows in prompts)) for b, prompts in bundles.items()}
  scores = {b: [sum(rewards[rows[j]] for rows in bundles[b]) for j in places[b]] for b in bundles}
  everything = [z for zs in scores.values() for z in zs]
  low, high = np.quantile(everything, [0.2, 0.8]) if quantiles is None else quantiles
  for b, zs in scores.items():
    scale = deviation(zs) if len(zs) > 1 else 1.0
    for j, z in enumerate(zs):
      tail, body = -max(low - z, 0.0), max(z - low, 0.0) - max(z - high, 0.0) + low - high
      a = 1.5 * tail + body
      if not paper:
        a = (1.5 * tail / (0.2 + 1e-6) + body / (0.6 + 1e-6)) / 2.5 / (scale + 1e-6)
        a *= scale > 1e-3
      for rows in bundles[b]:
        own = deviation([rewards[i] for i in rows]) if len(rows) > 1 else 1.0
        out[rows[j]] = a if paper else a / ((own if own > 1e-3 else 1.0) + 1e-6)
  return out, everything


def riskpo(problem, size, low=0.2, high=0.2):
  advantage, _ = riskpo_advantage(problem, size)
  loss, total, gradient = 0.0, 0.0, np.zeros(problem['mask'].shape)
  places = loops.trained(problem)
  sequences = sum(1 for ts in places if ts)
  for i, ts in enumerate(places):
    if not ts:
      continue
    d = 0.0
    if problem['old'] is not None:
      d = sum(problem['logp'][i, t] - problem['old'][i, t] for t in ts) / len(ts)
    value, slope, _ = loops.clipped(d, advantage[i], low, high)
    loss, total = loss + value / sequences, total + abs(value) / sequences
    gradient[i, ts] = slope / len(ts) / sequences
  return Expected(loss, {'logp': gradient}, total)


CASES = {
  'opo': Case(methods.opo(), opo),
  'remax': Case(methods.remax(kl_coef=0.3), lambda p: remax(p, 0.3), extras=greedy),
  'reinforce_pp_baseline': Case(methods.reinforce_pp_baseline(), reinforce_pp_baseline),
  'lite_ppo': Case(methods.lite_ppo(), lite_ppo),
  'dler': Case(methods.dler(), dler),
  'dler, by sequence': Case(
    methods.dler(normalise=advantages.whiten_sequences), lambda p: dler(p, by_sequence=True)
  ),
  'ngrpo': Case(methods.ngrpo(), ngrpo),
  'copo': Case(methods.copo(), copo, extras=answers),
  'dgpo': Case(methods.dgpo(), dgpo),
  'a_grae': Case(methods.a_grae(), a_grae),
  'canon': Case(
    methods.canon(max_length=9, mu=0.7, alpha_low=0.8),
    lambda p: canon_entropy(p, 0.7, 0.8, 9),
    extras=old_entropy,
  ),
  # The j-th samples of a bundle's prompts are scored together. Sums of eighths are exact: scores
  # that differ by the rounding of a tenth alone would be apart in float64 and equal in float32.
  'riskpo': Case(
    methods.with_rewards(lambda b: jnp.round(8 * b.rewards) / 8, methods.riskpo(bundle_size=2)),
    lambda p: riskpo({**p, 'rewards': np.round(8 * p['rewards']) / 8}, 2),
    ordered=('prompts', 'samples'),
  ),
}
