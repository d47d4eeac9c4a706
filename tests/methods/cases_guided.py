"""Methods with a guide: a reference held to asymmetrically, an expert, a hint, a critique."""

import math

import loops
import numpy as np
from harness import Case, Expected

from rljax import methods


def standardised(p, eps):
  """Advantages of groups with the unbiased deviation, 0 without spread."""
  found = np.zeros(len(p['rewards']))
  for rows in loops.members(p).values():
    values = [float(p['rewards'][i]) for i in rows]
    if min(values) < max(values):
      mean = sum(values) / len(values)
      deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
      for i in rows:
        found[i] = (p['rewards'][i] - mean) / (deviation + eps)
  return found


def wide(p, advantages):
  return loops.spread(advantages, p['mask'].shape[1])


def plus_kl(p, w, coef):
  """A k3 penalty with the weights `w`: value, gradient, size."""
  value, gradient, size = 0.0, np.zeros(w.shape), 0.0
  for i, t in np.argwhere(w > 0):
    x, slope = loops.kl('k3', p['logp'][i, t] - p['ref'][i, t])
    value += coef * w[i, t] * x
    size += coef * w[i, t] * abs(x)
    gradient[i, t] = coef * w[i, t] * slope
  return value, gradient, size


def apo(p, kl_coef, base):
  advantages = standardised(p, 1e-9)
  lengths = [sum(row > 0) for row in p['mask']]
  lighter = np.ones(len(advantages))
  heavier = np.ones(len(advantages))
  for rows in loops.members(p).values():
    right = [i for i in rows if p['correct'][i] > 0]
    wrong = 1 - len(right) / len(rows)
    for i in rows:
      if advantages[i] > 0 and 0 < wrong < 1:
        lighter[i] = 1 - math.exp(-math.e * (1 - wrong))
      if right and i not in right:
        mean = sum(lengths[j] for j in right) / len(right)
        if lengths[i] > mean:
          heavier[i] = 2 - base ** -(lengths[i] - mean)
  w = loops.weights(p, 'token_mean')
  loss, gradient, _, size = loops.clipped_tokens(p, wide(p, heavier * advantages), w, 0.2, 0.2)
  held = loops.weights(p, 'sequence_mean') * lighter[:, None]
  kl, kl_gradient, kl_size = plus_kl(p, held, kl_coef)
  return Expected(loss + kl, {'logp': gradient + kl_gradient}, size + kl_size)


def entropies(p):
  return {'entropy': -0.7 * p['logp'] + 0.1}


def one_shot(p, policy_coef, entropy_coef, kl_coef):
  w = loops.weights(p, 'token_mean')
  advantages = wide(p, standardised(p, 1e-6))
  loss, gradient, _, size = loops.clipped_tokens(p, advantages, w, 0.2, 0.2)
  kl, kl_gradient, kl_size = plus_kl(p, w, kl_coef)
  bonus = sum(w[i, t] * entropies(p)['entropy'][i, t] for i, t in np.argwhere(w > 0))
  return Expected(
    policy_coef * loss + kl - entropy_coef * bonus,
    {'logp': policy_coef * gradient + kl_gradient, 'entropy': -entropy_coef * w},
    policy_coef * size + kl_size + entropy_coef * bonus,
  )


def expert(p):
  return {'expert_logp': np.roll(p['ref'], 1, axis=1), 'has_expert': 1 - p['mask'][:, 2]}


def calibrl(p, alpha=0.5, coef=0.1, cap=3.0, guided=True):
  w = loops.weights(p, 'token_mean')
  advantages = loops.group_advantages(p, p['rewards'], 'center')
  loss, size, gradient = 0.0, 0.0, np.zeros(w.shape)
  for i, t in np.argwhere(w > 0):
    d = 0.0 if p['old'] is None else p['logp'][i, t] - p['old'][i, t]
    value, slope, _ = loops.clipped(d, advantages[i], 0.2, 0.2)
    if advantages[i] < 0 and value > -advantages[i] * cap:
      value, slope = -advantages[i] * cap, 0.0
    if not guided or expert(p)['has_expert'][i]:
      sign = 1 if np.float32(p['rewards'][i]) > np.float32(0.1) else -1
      x = -sign * (p['logp'][i, t] - expert(p)['expert_logp'][i, t])
      steep = 1.0 if x > 0 else alpha
      value += coef * abs(advantages[i]) * steep * x
      slope -= coef * abs(advantages[i]) * steep * sign
    loss += w[i, t] * value
    size += w[i, t] * abs(value)
    gradient[i, t] = w[i, t] * slope
  return Expected(loss, {'logp': gradient}, size)


def ghpo(p):
  w = loops.weights(p, 'token_mean')
  advantages = wide(p, standardised(p, 1e-4))
  loss, gradient, _, size = loops.clipped_tokens(p, advantages, w, 0.2, 0.2)
  return Expected(loss, {'logp': gradient}, size)


def hints(p):
  """The first two or three places, for prompts whose sequence has a third token."""
  long = p['mask'][:, 2:3] > 0
  place = np.arange(p['mask'].shape[1])
  return {'hint_mask': np.where(long, place < 3, place < 2).astype(np.float64)}


def seele(p, length, hint_coef, kl_coef):
  hint = p['mask'] * hints(p)['hint_mask']
  generated = {**p, 'mask': p['mask'] * (1 - hints(p)['hint_mask'])}
  advantages = wide(p, loops.group_advantages(p, p['rewards'], 'center'))
  w = loops.weights(generated, 'constant', length)
  loss, gradient, _, size = loops.clipped_tokens(generated, advantages, w, 0.2, 0.2)
  kl, kl_gradient, kl_size = plus_kl(generated, w, kl_coef)
  places = [(i, t) for i, ts in enumerate(loops.trained({**p, 'mask': hint})) for t in ts]
  for i, t in places:
    loss -= hint_coef * p['logp'][i, t] / len(places)
    size += hint_coef * abs(p['logp'][i, t]) / len(places)
    gradient[i, t] -= hint_coef / len(places)
  return Expected(loss + kl, {'logp': gradient + kl_gradient}, size + kl_size)


def cft(p):
  w = loops.weights(p, 'token_mean')
  loss = -sum(w[i, t] * p['logp'][i, t] for i, t in np.argwhere(w > 0))
  return Expected(loss, {'logp': -w}, abs(loss))


CASES = {
  'apo': Case(methods.apo(kl_coef=0.3, base=1.5), lambda p: apo(p, 0.3, 1.5)),
  'one_shot': Case(
    methods.one_shot(policy_coef=0.8, entropy_coef=0.2, kl_coef=0.1),
    lambda p: one_shot(p, 0.8, 0.2, 0.1),
    scores=entropies,
  ),
  'one_shot_entropy': Case(
    methods.one_shot_entropy(entropy_coef=0.5),
    lambda p: one_shot(p, 0.0, 0.5, 0.0),
    scores=entropies,
  ),
  'calibrl': Case(methods.calibrl(), calibrl, extras=expert),
  'ghpo': Case(methods.ghpo(), ghpo),
  'seele': Case(
    methods.seele(max_length=5, hint_coef=0.2, kl_coef=0.1),
    lambda p: seele(p, 5, 0.2, 0.1),
    extras=hints,
  ),
  'cft': Case(methods.cft(), cft),
}
