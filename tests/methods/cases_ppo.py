"""PPO, its policy and its critic, each with loops of its own."""

import math

import loops
import numpy as np
from harness import Case, Expected
from parity import exact

from rljax import methods


def old_values(p):
  """A function of each token alone, so that rows may be put into another order."""
  return exact(0.8 * np.sin(3 * p['logp']))


def new_values(p):
  return exact(old_values(p) + 0.6 * np.cos(7 * p['logp']))


def extras(p):
  return {'old_values': old_values(p)}


def gae(p, kl_coef, gamma, lam):
  """Advantages before whitening, and returns."""
  values, sampled = old_values(p), p['logp'] if p['old'] is None else p['old']
  advantages, returns = np.zeros(values.shape), np.zeros(values.shape)
  for i, row in enumerate(p['mask']):
    places = [t for t, m in enumerate(row) if m > 0]
    following = running = 0.0
    for n, t in enumerate(reversed(places)):
      reward = p['rewards'][i] if n == 0 else 0.0
      reward -= kl_coef * (sampled[i, t] - p['ref'][i, t])
      running = reward + gamma * following - values[i, t] + gamma * lam * running
      following = values[i, t]
      advantages[i, t], returns[i, t] = running, running + values[i, t]
  return advantages, returns


def policy(kl_coef=0.0, gamma=1.0, lam=1.0, low=0.2, high=0.2):
  def expected(p):
    raw, _ = gae(p, kl_coef, gamma, lam)
    real = [(i, t) for i, ts in enumerate(loops.trained(p)) for t in ts]
    found = [raw[at] for at in real]
    mean = sum(found) / len(found)
    variance = sum((a - mean) ** 2 for a in found) / (len(found) - 1)
    advantages = np.zeros(raw.shape)
    for at in real:
      advantages[at] = (raw[at] - mean) / math.sqrt(variance + 1e-8)
    w = loops.weights(p, 'token_mean')
    loss, gradient, _, size = loops.clipped_tokens(p, advantages, w, low, high)
    return Expected(loss, {'logp': gradient}, size)

  return expected


def critic(clip, kl_coef=0.0, gamma=1.0, lam=1.0):
  def expected(p):
    _, returns = gae(p, kl_coef, gamma, lam)
    before, now, w = old_values(p), new_values(p), loops.weights(p, 'token_mean')
    loss, gradient = 0.0, np.zeros(w.shape)
    for at in map(tuple, np.argwhere(w > 0)):
      v, target = now[at], returns[at]
      held = min(max(v, before[at] - clip), before[at] + clip) if clip else v
      loss += w[at] * 0.5 * max((v - target) ** 2, (held - target) ** 2)
      gradient[at] = 0.0 if (held - target) ** 2 > (v - target) ** 2 else w[at] * (v - target)
    return Expected(loss, {'values': gradient}, loss)

  return expected


def critic_case(method, slow):
  """The critic as if it were a method: its terms on the method's prepared batch."""
  alone = method._replace(terms=method.critic, critic={})
  return Case(alone, slow, extras, lambda p: {'values': new_values(p)})


FULL = {'kl_coef': 0.3, 'gamma': 0.9, 'lam': 0.7}

CASES = {
  'ppo': Case(methods.ppo(), policy(), extras),
  'ppo, kl, gamma, lam': Case(
    methods.ppo(**FULL, clip_low=0.1, clip_high=0.5), policy(**FULL, low=0.1, high=0.5), extras
  ),
  'ppo, critic': critic_case(methods.ppo(), critic(0.5)),
  'ppo, critic, kl, gamma, lam': critic_case(
    methods.ppo(**FULL, value_clip=0.0), critic(0.0, **FULL)
  ),
}
