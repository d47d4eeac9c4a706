"""Every method as loops over groups, sequences and tokens in float64: loss, and gradient in logp.

A problem is a dict of NumPy arrays in rows: `logp, old, ref, mask [B, T]`, `rewards, correct [B]`,
`group [B]`, `keep [B]` or None; `old` None is a batch that is used once. Nothing here imports
rljax.
"""

import math

import numpy as np

LIMIT = 20.0


def trained(problem):
  """Lists of trained token places, one list a sequence; empty where the sequence is not kept."""
  keep = problem['keep']
  return [
    [t for t, m in enumerate(row) if m > 0 and (keep is None or keep[i] > 0)]
    for i, row in enumerate(problem['mask'])
  ]


def members(problem):
  """{group: its rows}."""
  found = {}
  for i, g in enumerate(problem['group']):
    found.setdefault(int(g), []).append(i)
  return found


def group_advantages(problem, rewards, kind):
  """One advantage a row: `center`, `grpo` (unbiased deviation, eps 1e-6) or `rloo`."""
  result = np.zeros(len(rewards))
  for rows in members(problem).values():
    values = [float(rewards[i]) for i in rows]
    if min(values) == max(values):
      continue
    mean = sum(values) / len(values)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
    for i, v in zip(rows, values, strict=True):
      result[i] = {
        'center': v - mean,
        'grpo': (v - mean) / (deviation + 1e-6),
        'rloo': v - (sum(values) - v) / (len(values) - 1),
      }[kind]
  return result


def weights(problem, kind, length=None):
  """Weight of every token, `[B, T]`."""
  places = trained(problem)
  total = sum(len(ts) for ts in places)
  sequences = sum(1 for ts in places if ts)
  result = np.zeros(problem['mask'].shape)
  for i, ts in enumerate(places):
    for t in ts:
      result[i, t] = {
        'token_mean': 1 / total,
        'sequence_mean': 1 / len(ts) / sequences,
        'sequence_sum_mean': 1 / sequences,
        'constant': 1 / sequences / (length or 1),
      }[kind]
  return result


def clipped(log_ratio, advantage, low, high):
  """PPO's loss and its derivative in the log-ratio, which is held to +-20."""
  inside = abs(log_ratio) <= LIMIT
  ratio = math.exp(max(-LIMIT, min(LIMIT, log_ratio)))
  if advantage > 0 and ratio > 1 + high:
    return -advantage * (1 + high), 0.0, 1.0
  if advantage < 0 and ratio < 1 - low:
    return -advantage * (1 - low), 0.0, 1.0
  return -advantage * ratio, -advantage * ratio * inside, 0.0


def clipped_tokens(problem, advantages, w, low, high):
  """Loss, gradient `[B, T]`, clip fraction and the sum of absolute summands, token ratios."""
  loss, cut, size, gradient = 0.0, 0.0, 0.0, np.zeros(w.shape)
  for i, t in np.argwhere(w > 0):
    d = 0.0 if problem['old'] is None else problem['logp'][i, t] - problem['old'][i, t]
    value, slope, was_cut = clipped(d, advantages[i, t], low, high)
    loss += w[i, t] * value
    size += w[i, t] * abs(value)
    cut += w[i, t] * was_cut
    gradient[i, t] = w[i, t] * slope
  return loss, gradient, cut, size


def policy_gradient(problem, advantages, w):
  loss, size, gradient = 0.0, 0.0, np.zeros(w.shape)
  for i, t in np.argwhere(w > 0):
    loss += -w[i, t] * advantages[i] * problem['logp'][i, t]
    size += abs(w[i, t] * advantages[i] * problem['logp'][i, t])
    gradient[i, t] = -w[i, t] * advantages[i]
  return loss, gradient, 0.0, size


def spread(advantages, width):
  return np.repeat(np.asarray(advantages)[:, None], width, axis=1)


def reinforce(problem):
  return policy_gradient(problem, problem['rewards'], weights(problem, 'sequence_sum_mean'))


def rloo(problem):
  advantages = group_advantages(problem, problem['rewards'], 'rloo')
  return policy_gradient(problem, advantages, weights(problem, 'sequence_sum_mean'))


def grpo(problem, low=0.2, high=0.2):
  advantages = group_advantages(problem, problem['rewards'], 'grpo')
  w = weights(problem, 'sequence_mean')
  return clipped_tokens(problem, spread(advantages, w.shape[1]), w, low, high)


def dr_grpo(problem, max_length, low=0.2, high=0.2):
  advantages = group_advantages(problem, problem['rewards'], 'center')
  w = weights(problem, 'constant', max_length)
  return clipped_tokens(problem, spread(advantages, w.shape[1]), w, low, high)


def dapo(problem, max_length, overlong_buffer, low=0.2, high=0.28):
  rewards = [
    r - min(1, max(0, (sum(m > 0) - (max_length - overlong_buffer)) / overlong_buffer))
    for r, m in zip(problem['rewards'], problem['mask'], strict=True)
  ]
  keep = np.ones(len(rewards)) if problem['keep'] is None else np.array(problem['keep'])
  for rows in members(problem).values():
    correct = {float(problem['correct'][i]) for i in rows}
    if len(rows) > 1 and len(correct) == 1:
      keep[rows] = 0
  w = weights({**problem, 'keep': keep}, 'token_mean')
  advantages = group_advantages(problem, rewards, 'grpo')
  return clipped_tokens(problem, spread(advantages, w.shape[1]), w, low, high)


def reinforce_pp(problem, kl_coef=0.0, gamma=1.0, low=0.2, high=0.2):
  returns, real = np.zeros(problem['mask'].shape), []
  sampled = problem['logp'] if problem['old'] is None else problem['old']
  for i, row in enumerate(problem['mask']):
    places = [t for t, m in enumerate(row) if m > 0]
    value = 0.0
    for n, t in enumerate(reversed(places)):
      reward = problem['rewards'][i] if n == 0 else 0.0
      reward -= kl_coef * (sampled[i, t] - problem['ref'][i, t])
      value = reward + gamma * value
      returns[i, t] = value
    if problem['keep'] is None or problem['keep'][i] > 0:
      real += [(i, t) for t in places]
  values = [returns[at] for at in real]
  advantages = np.zeros(returns.shape)
  if len(values) > 1 and min(values) < max(values):
    mean = sum(values) / len(values)
    variance = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
    for at in real:
      advantages[at] = (returns[at] - mean) / math.sqrt(variance + 1e-8)
  return clipped_tokens(problem, advantages, weights(problem, 'token_mean'), low, high)


def gspo(problem, low=3e-4, high=4e-4):
  advantages = group_advantages(problem, problem['rewards'], 'grpo')
  loss, cut, size, gradient = 0.0, 0.0, 0.0, np.zeros(problem['mask'].shape)
  places = trained(problem)
  sequences = sum(1 for ts in places if ts)
  for i, ts in enumerate(places):
    if not ts:
      continue
    d = 0.0
    if problem['old'] is not None:
      d = sum(problem['logp'][i, t] - problem['old'][i, t] for t in ts) / len(ts)
    value, slope, was_cut = clipped(d, advantages[i], low, high)
    loss += value / sequences
    size += abs(value) / sequences
    cut += was_cut / sequences
    for t in ts:  # every token moves the mean log-ratio by its share
      gradient[i, t] = slope / len(ts) / sequences
  return loss, gradient, cut, size


def kl(name, d):
  """Value and derivative in logp of one estimator at the log-ratio d."""
  exponential = math.exp(-max(d, -LIMIT))
  k3 = exponential - 1 + max(d, -LIMIT)
  return {
    'k1': (d, 1.0),
    'k2': (d * d / 2, d),
    'k3': (k3, 1 - exponential if d >= -LIMIT else 0.0),
    'k1_plus': (d, d),
    'k3_plus': (k3, d),
  }[name]


def kl_term(problem, name, kind):
  """Value, gradient and the sum of absolute summands of a KL term before its coefficient."""
  w = weights(problem, kind)
  loss, size, gradient = 0.0, 0.0, np.zeros(w.shape)
  for i, t in np.argwhere(w > 0):
    value, slope = kl(name, problem['logp'][i, t] - problem['ref'][i, t])
    loss += w[i, t] * value
    size += w[i, t] * abs(value)
    gradient[i, t] = w[i, t] * slope
  return loss, gradient, size
