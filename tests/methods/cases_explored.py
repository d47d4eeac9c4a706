"""Rewards for diversity and exploration, and the scale of RAPO."""

import math

import loops
import numpy as np
from harness import Case, Expected

from rljax import methods


def clipped(p, advantages):
  w = loops.weights(p, 'sequence_mean')
  wide = loops.spread(advantages, w.shape[1])
  loss, gradient, _, size = loops.clipped_tokens(p, wide, w, 0.2, 0.2)
  return Expected(loss, {'logp': gradient}, size)


def diversity(p):
  return {'diversity': 0.5 + np.tanh(p['logp'][:, 0]) / 2}


def multirole(p, delta):
  rewards = [
    delta * c + (1 - delta) * np.float64(np.float32(d))
    for c, d in zip(p['correct'], diversity(p)['diversity'], strict=True)
  ]
  return clipped(p, loops.group_advantages(p, rewards, 'grpo'))


def features(p):
  return {'old_mean_hidden': p['ref'][:, :3]}


def explored(p, beta, lam):
  """The rewards with their bonus."""
  rewards = np.array(p['rewards'], np.float64)
  for rows in loops.members(p).values():
    if not any(p['correct'][i] > 0 for i in rows):
      continue
    h = np.array([features(p)['old_mean_hidden'][i] for i in rows])
    h = h - sum(h) / len(h)
    inverse = np.linalg.inv(lam * np.eye(3) + h.T @ h)
    for i, own in zip(rows, h, strict=True):
      rewards[i] += beta * own @ inverse @ own
  return rewards


def repexp(p, beta, lam):
  return clipped(p, loops.group_advantages(p, explored(p, beta, lam), 'grpo'))


def explored_dr_grpo(p, max_length, beta, lam):
  loss, gradient, _, size = loops.dr_grpo({**p, 'rewards': explored(p, beta, lam)}, max_length)
  return Expected(loss, {'logp': gradient}, size)


def rapo(p):
  advantages = np.zeros(len(p['rewards']))
  groups = loops.members(p)
  lively = [rows for rows in groups.values() if len({p['rewards'][i] for i in rows}) > 1]
  for rows in lively:
    values = [p['rewards'][i] for i in rows]
    mean = sum(values) / len(values)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / len(values))
    for i in rows:
      advantages[i] = (p['rewards'][i] - mean) / (deviation + 1e-6) * len(groups) / len(lively)
  return clipped(p, advantages)


CASES = {
  'multirole': Case(methods.multirole(delta=0.7), lambda p: multirole(p, 0.7), diversity),
  # Two centred members have equal bonuses, whose rounding GRPO would blow up: groups of four.
  'repexp': Case(
    methods.repexp(beta=0.5, lam=3.0),
    lambda p: repexp(p, 0.5, 3.0),
    features,
    layouts=('groups',),
  ),
  'repexp, dr_grpo': Case(
    methods.with_exploration(methods.dr_grpo(max_length=9), beta=0.5, lam=0.2),
    lambda p: explored_dr_grpo(p, 9, 0.5, 0.2),
    features,
  ),
  'rapo': Case(methods.rapo(), rapo),
}
