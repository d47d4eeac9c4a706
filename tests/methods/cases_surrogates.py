"""Surrogates beside PPO's, and advantages without a baseline."""

import math

import loops
import numpy as np
from cases_baseline import slow
from harness import Case, Expected

from rljax import methods


def difference(p, i, t):
  return 0.0 if p['old'] is None else p['logp'][i, t] - p['old'][i, t]


def tokens(p, advantages, w, fn):
  """Any loss of single tokens: `fn(log-ratio, logp, advantage) -> (value, slope in logp)`."""
  loss, size, gradient = 0.0, 0.0, np.zeros(w.shape)
  for i, t in np.argwhere(w > 0):
    value, slope = fn(difference(p, i, t), p['logp'][i, t], advantages[i])
    loss += w[i, t] * value
    size += w[i, t] * abs(value)
    gradient[i, t] = w[i, t] * slope
  return Expected(loss, {'logp': gradient}, size)


def cispo(p, low=0.0, high=5.0):
  def of_token(d, logp, a):
    weight = min(max(math.exp(max(-20.0, min(20.0, d))), low), high)
    return -weight * a * logp, -weight * a

  advantages = loops.group_advantages(p, p['rewards'], 'grpo')
  return tokens(p, advantages, loops.weights(p, 'token_mean'), of_token)


def sapo(p, tau_pos=1.0, tau_neg=1.05):
  def of_token(d, logp, a):
    del logp
    tau = tau_pos if a > 0 else tau_neg
    ratio = math.exp(max(-20.0, min(20.0, d)))
    x = min(tau * (ratio - 1), 700.0)
    gate, rest = 1 / (1 + math.exp(-x)), 1 / (1 + math.exp(x))
    slope = -a * 4 * gate * rest * ratio * (abs(d) <= 20)
    return -a * 4 / tau * gate, slope

  advantages = loops.group_advantages(p, p['rewards'], 'grpo')
  return tokens(p, advantages, loops.weights(p, 'sequence_mean'), of_token)


def gmpo(p, low=0.4, high=0.4):
  advantages = loops.group_advantages(p, p['rewards'], 'grpo')
  loss, size, gradient = 0.0, 0.0, np.zeros(p['mask'].shape)
  places = loops.trained(p)
  sequences = sum(1 for ts in places if ts)
  for i, ts in enumerate(places):
    if not ts:
      continue
    held, free = [], []
    for t in ts:
      d = difference(p, i, t)
      cut = d > high if advantages[i] > 0 else d < -low
      held.append((high if advantages[i] > 0 else -low) if cut else d)
      free.append(not cut)
    mean = sum(held) / len(ts)
    value = -advantages[i] * math.exp(max(-20.0, min(20.0, mean)))
    loss += value / sequences
    size += abs(value) / sequences
    for t, moves in zip(ts, free, strict=True):
      gradient[i, t] = moves * (abs(mean) <= 20) * value / len(ts) / sequences
  return Expected(loss, {'logp': gradient}, size)


def reinforce_token_mean(p):
  return loops.policy_gradient(p, p['rewards'], loops.weights(p, 'token_mean'))


def signed(p, right, wrong, kept):
  """PPO on `right` or `wrong` by correctness; only sequences whose correctness is in `kept`."""
  keep = np.ones(len(p['correct'])) if p['keep'] is None else np.array(p['keep'])
  advantages = np.zeros(p['mask'].shape)
  for i, (correct, truncated) in enumerate(zip(p['correct'], p['truncated'], strict=True)):
    correct = 0 if truncated else correct
    advantages[i] = right if correct == 1 else wrong
    keep[i] = keep[i] * (correct in kept)
  w = loops.weights({**p, 'keep': keep}, 'token_mean')
  return loops.clipped_tokens(p, advantages, w, 0.2, 0.2)


CASES = {
  'reinforce_token_mean': Case(methods.reinforce_token_mean(), slow(reinforce_token_mean)),
  'gspo_token': Case(
    methods.gspo_token(clip_low=0.5, clip_high=0.5), slow(loops.gspo, low=0.5, high=0.5)
  ),
  'gmpo': Case(methods.gmpo(), gmpo),
  'cispo': Case(methods.cispo(), cispo),
  'cispo, two-sided': Case(methods.cispo(low=0.8, high=1.2), lambda p: cispo(p, low=0.8, high=1.2)),
  'sapo': Case(methods.sapo(), sapo),
  'psr': Case(methods.psr(), slow(signed, right=1.0, wrong=0.0, kept=[1])),
  'nsr': Case(methods.nsr(), slow(signed, right=0.0, wrong=-1.0, kept=[0])),
  'w_reinforce': Case(methods.w_reinforce(), slow(signed, right=0.1, wrong=-1.0, kept=[0, 1])),
}
