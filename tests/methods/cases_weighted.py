"""Methods that weigh groups or shape advantages by features, as loops in float64."""

import math

import jax.numpy as jnp
import loops
import numpy as np
from harness import Case, Expected, T

from rljax import advantages, methods

CATEGORIES = 3
MEANS = [3.0, 0.2, -0.1]


def clipped(p, advantage, kind='sequence_mean', length=None, weight=None, low=0.2, high=0.2):
  """The clipped loss of one advantage a row, each row's loss times `weight`."""
  w = loops.weights(p, kind, length)
  loss, gradient, size = 0.0, np.zeros(w.shape), 0.0
  for i, t in np.argwhere(w > 0):
    d = 0.0 if p['old'] is None else p['logp'][i, t] - p['old'][i, t]
    value, slope, _ = loops.clipped(d, advantage[i], low, high)
    scale = w[i, t] * (1.0 if weight is None else weight[i])
    loss += scale * value
    size += abs(scale * value)
    gradient[i, t] = scale * slope
  return Expected(loss, {'logp': gradient}, size)


def standardised(p, rewards=None, eps=1e-6):
  rewards = p['rewards'] if rewards is None else rewards
  out = np.zeros(len(rewards))
  for rows in loops.members(p).values():
    values = [float(rewards[i]) for i in rows]
    if min(values) < max(values):
      mean = sum(values) / len(values)
      std = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
      for i in rows:
        out[i] = (rewards[i] - mean) / (std + eps)
  return out


def lengths(p):
  return p['mask'].sum(-1)


def slow_adora(weight_of):
  def slow(p):
    out = standardised(p)
    for rows in loops.members(p).values():
      right = [lengths(p)[i] for i in rows if p['correct'][i] > 0]
      wrong = [n for i in rows if not p['correct'][i] > 0 and (n := lengths(p)[i]) < T]
      for i in rows:
        out[i] *= weight_of(right, wrong, len(right) / len(rows))
    return clipped(p, out)

  return slow


def vision(right, wrong, rate):
  del rate
  if not right:
    return 1.0
  return 1.0 if wrong and max(right) > sum(wrong) / len(wrong) else 0.1


def language(right, wrong, rate):
  del rate
  return 1.0 if right and (not wrong or max(right) > sum(wrong) / len(wrong)) else 0.1


def amplified(right, wrong, rate):
  paid = right and (not wrong or max(right) > sum(wrong) / len(wrong))
  return 2.0 if paid and rate <= 0.5 else 1.0


def scaling_extras(p):
  rng = np.random.default_rng(int(1e3 * abs(p['logp'].sum())) % 1000)
  rows = len(p['group'])
  return {
    'difference': rng.uniform(0, 2, rows),
    'reward_gap': rng.normal(0, 2, rows),
    'category': p['group'] % CATEGORIES,
  }


def slow_grpo_s(p):
  x = {k: np.float64(np.float32(v)) for k, v in scaling_extras(p).items()}
  kept = [i for i in range(len(p['group'])) if p['keep'] is None or p['keep'][i] > 0]

  def mean(values, rows, otherwise):
    return sum(values[i] for i in rows) / len(rows) if rows else otherwise

  sigmoid = lambda v: 1 / (1 + math.exp(-v))  # noqa: E731
  out = standardised(p)
  for i in range(len(out)):
    mine = [j for j in kept if x['category'][j] == x['category'][i]]
    inliers = [j for j in mine if -1.5 <= x['reward_gap'][j] <= 1.5]
    difference = mean(x['difference'], mine, x['difference'][i])
    gap = mean(x['reward_gap'], mine, x['reward_gap'][i])
    typical = mean(x['reward_gap'], inliers, gap)
    out[i] *= sigmoid(x['difference'][i]) / sigmoid(difference) * sigmoid(typical) / sigmoid(gap)
  return clipped(p, out)


def number(name, low, high, unreadable=0.0, whole_groups=False):
  """An extra of random numbers that follow the rows, or their groups, wherever they stand."""

  def extras(p):
    key = p['logp'][:, :1].sum(-1)
    if whole_groups:
      key = np.array([p['logp'][p['group'] == g].sum() for g in p['group']])
    found = low + (high - low) * np.mod(37.7 * key, 1.0)
    return {name: np.where(np.mod(11.3 * key, 1.0) < unreadable, np.nan, found)}

  return extras


PREDICTED = number('predicted', 0.0, 6.0, unreadable=0.3)
IOU = number('iou', 0.0, 1.0)
DIFFICULTY = number('difficulty', 0.1, 2.0, whole_groups=True)
PROMPT = number('prompt_confidence', 0.0, 1.0, whole_groups=True)


def column(extras, p):
  return [np.float64(np.float32(v)) for v in next(iter(extras(p).values()))]


def slow_q_hawkeye(p, alpha=0.2):
  predicted, out = column(PREDICTED, p), standardised(p, eps=1e-4)
  for rows in loops.members(p).values():
    scores = [min(max(predicted[i], 1.0), 5.0) for i in rows if not math.isnan(predicted[i])]
    spread = 0.0
    if len(scores) > 1:
      mean = sum(scores) / len(scores)
      spread = sum((s - mean) ** 2 for s in scores) / len(scores)
    for i in rows:
      out[i] *= math.exp(-alpha * min(max(spread / (4 + 1e-8), 0), 1))
  return clipped(p, out)


def slow_univg(of_mean):
  def slow(p):
    iou, weight = column(IOU, p), np.zeros(len(p['group']))
    for rows in loops.members(p).values():
      for i in rows:
        weight[i] = of_mean(sum(iou[j] for j in rows) / len(rows))
    return clipped(p, standardised(p), weight=weight)

  return slow


def slow_gui_g1(p):
  advantage = loops.group_advantages(p, p['rewards'], 'center')
  return clipped(p, advantage, 'constant', 64.0, weight=column(DIFFICULTY, p))


def sampled(p):
  return p['logp'] if p['old'] is None else p['old']


def scores(p):
  """Mean log-probability of each row that has tokens."""
  found = {}
  for i, row in enumerate(p['mask']):
    places = [t for t, m in enumerate(row) if m > 0]
    if places:
      found[i] = sum(sampled(p)[i, t] for t in places) / len(places)
  return found


def slow_progrpo(p, alpha=0.5):
  prompt, out = column(PROMPT, p), standardised(p)
  for rows in loops.members(p).values():
    if all(p['rewards'][i] == 0 for i in rows):
      continue
    for i in rows:
      real = sorted(v for v, m in zip(sampled(p)[i], p['mask'][i], strict=True) if m > 0)
      n = max(1, math.ceil(0.2 * len(real)))
      answer = math.exp(sum(real[:n]) / n) if real else 0.0
      out[i] += alpha * (prompt[i] - answer)
  return clipped(p, out)


def slow_xrpo(p, lam=0.8, kappa=0.4):
  score, out = scores(p), standardised(p)
  for rows in loops.members(p).values():
    real = [score[i] for i in rows if i in score]
    for i in rows:
      if i in score and out[i] > 0:
        novelty = math.exp(score[i] - sum(real) / len(real))
        out[i] += min(max(lam * (1 - novelty), 0.0), kappa * out[i])
  return clipped(p, out)


def slow_unlikeliness(p, beta=0.25):
  score, shaped = scores(p), np.zeros(len(p['group']))
  for rows in loops.members(p).values():
    for rank, i in enumerate(sorted(rows, key=lambda i: score.get(i, 0.0))):
      shaped[i] = p['rewards'][i] * (1 - beta * rank / len(rows))
  return clipped(p, standardised(p, shaped))


def dynamics_extras(p):
  key = p['logp'][:, :1]
  spread = np.mod(np.concatenate([37.7 * key, 53.1 * key, 71.9 * key], axis=1), 1.0)
  return {'old_rank_dynamics': np.array(MEANS) + (spread - 0.5) * [4.0, 0.8, 0.4]}


def slow_verl(p, gain=2.0, kappa=2.0):
  dynamics, out = dynamics_extras(p)['old_rank_dynamics'], standardised(p)
  for i, x in enumerate(np.float64(np.float32(dynamics))):
    d = [
      min(max((v - m) / (abs(m) + 1e-8), -5), 5)
      for v, m in zip(x, np.float64(np.float32(MEANS)), strict=True)
    ]
    w = 1 / (1 + math.exp(-gain * d[2]))
    bonus = w * math.tanh(d[0]) + (1 - w) * math.tanh(d[1])
    out[i] += min(max(bonus, 0.0), abs(out[i]) / kappa)
  return clipped(p, out)


def later_verl():
  """VERL in its third step: the first knows no means and gives no bonus."""

  def init():
    ranks = advantages.RankMeans(jnp.array(MEANS), jnp.array(MEANS), jnp.ones(()))
    return {'inner': (), 'ranks': ranks}

  return methods.verl()._replace(init=init)


CASES = {
  'adora': Case(methods.adora(max_length=T), slow_adora(vision)),
  'adora, language': Case(methods.adora_language(max_length=T), slow_adora(language)),
  'adora, amplified': Case(methods.adora_amplified(max_length=T), slow_adora(amplified)),
  'grpo_s': Case(
    methods.grpo_s(categories=CATEGORIES, gap_low=-1.5, gap_high=1.5), slow_grpo_s, scaling_extras
  ),
  'q_hawkeye': Case(methods.q_hawkeye(), slow_q_hawkeye, PREDICTED),
  'univg': Case(methods.univg(), slow_univg(lambda m: math.exp(1 - m)), IOU),
  'univg, log': Case(
    methods.univg(weight=advantages.log_difficulty), slow_univg(lambda m: -math.log(0.02 + m)), IOU
  ),
  'gui_g1': Case(methods.gui_g1(), slow_gui_g1, DIFFICULTY),
  'progrpo': Case(methods.progrpo(alpha=0.5), slow_progrpo, PROMPT),
  'xrpo': Case(methods.xrpo(lam=0.8, kappa=0.4), slow_xrpo),
  'unlikeliness': Case(methods.unlikeliness(), slow_unlikeliness),
  'verl': Case(later_verl(), slow_verl, dynamics_extras),
}
