"""Weights of tokens that another policy has drawn, and the entropy bonus that adapts."""

import functools
import math

import loops
import numpy as np
from harness import Case, Expected

from rljax import methods, token_weights


def weighed(p, level, bound):
  """GRPO with every token's loss times `bound(importance)`; the batch's sampler is `logp`."""
  loss, gradient, size = 0.0, np.zeros(p['mask'].shape), 0.0
  advantages = loops.group_advantages(p, p['rewards'], 'grpo')
  w = loops.weights(p, 'sequence_mean')
  for i, row in enumerate(p['mask']):
    ts = [t for t, m in enumerate(row) if m > 0]
    d = {t: 0.0 if p['old'] is None else p['old'][i, t] - p['logp'][i, t] for t in ts}
    if ts and level == 'sequence':
      d = dict.fromkeys(ts, sum(d.values()))
    elif ts and level == 'geometric':
      d = dict.fromkeys(ts, sum(d.values()) / len(ts))
    for t in ts:
      weight = bound(math.exp(max(-20.0, min(20.0, d[t]))))
      difference = 0.0 if p['old'] is None else p['logp'][i, t] - p['old'][i, t]
      value, slope, _ = loops.clipped(difference, advantages[i], 0.2, 0.2)
      loss += w[i, t] * weight * value
      size += w[i, t] * weight * abs(value)
      gradient[i, t] = w[i, t] * weight * slope
  return Expected(loss, {'logp': gradient}, size)


def inside(low, high):
  return lambda rho: rho if low <= rho <= high else 0.0


def truncated_tokens(*logps):
  return token_weights.truncated(token_weights.token_importance(*logps), high=2.0)


def normalized_tokens(*logps):
  return token_weights.normalized_over_tokens(truncated_tokens(*logps), logps[-1])


def normalized(p):
  """Weights over their mean on trained tokens: the loss and gradient are over it as well."""
  found, places = weighed(p, 'token', lambda rho: min(rho, 2.0)), loops.trained(p)
  weights = [
    1.0 if p['old'] is None else min(math.exp(min(20.0, p['old'][i, t] - p['logp'][i, t])), 2.0)
    for i, ts in enumerate(places)
    for t in ts
  ]
  mean = sum(weights) / len(weights)
  return Expected(found.loss / mean, {'logp': found.gradients['logp'] / mean}, found.size / mean)


def drawn_by_reference(method):
  """The method on a batch whose sampler was the reference."""

  def prepare(state, batch):
    return method.prepare(state, batch.replace(behavior_logp=batch.ref_logp))

  return method._replace(prepare=prepare)


def off_policy(p, delta):
  advantages = loops.group_advantages(p, p['rewards'], 'grpo')
  w = loops.weights(p, 'sequence_mean')
  for i, row in enumerate(p['mask']):
    ts = [t for t, m in enumerate(row) if m > 0]
    drift = sum(p['ref'][i, t] - p['logp'][i, t] for t in ts) / max(len(ts), 1)
    if advantages[i] < 0 and drift > delta:
      w[i] = 0.0
  w_all = loops.spread(advantages, w.shape[1])
  loss, gradient, _, size = loops.clipped_tokens(p, w_all, w, 0.2, 0.2)
  return Expected(loss, {'logp': gradient}, size)


def entropies(p):
  return np.abs(p['ref']) * 0.2


def adaptive(p, coef):
  loss, gradient, _, size = loops.grpo(p)
  w = loops.weights(p, 'token_mean')
  bonus = coef * float(np.sum(w * entropies(p)))
  return Expected(loss - bonus, {'logp': gradient, 'entropy': -coef * w}, size + bonus)


CASES = {
  'grpo, icepop': Case(
    methods.with_icepop(methods.grpo()),
    functools.partial(weighed, level='token', bound=inside(0.5, 2.0)),
  ),
  'grpo, masked importance': Case(
    methods.with_masked_importance(methods.grpo()),
    functools.partial(weighed, level='sequence', bound=inside(0.0, 3.0)),
  ),
  'grpo, geometric importance': Case(
    methods.with_masked_importance(
      methods.grpo(), low=0.8, high=1.25, level=token_weights.geometric_importance
    ),
    functools.partial(weighed, level='geometric', bound=inside(0.8, 1.25)),
  ),
  'grpo, truncated importance': Case(
    methods.with_truncated_importance(methods.grpo()),
    functools.partial(weighed, level='token', bound=lambda rho: min(rho, 2.0)),
  ),
  'grpo, normalised importance': Case(
    methods.with_batch_importance(methods.grpo(), normalized_tokens), normalized
  ),
  'grpo, off-policy mask': Case(
    drawn_by_reference(methods.with_off_policy_mask(methods.grpo(), delta=0.1)),
    functools.partial(off_policy, delta=0.1),
  ),
  'grpo, adaptive entropy': Case(
    methods.with_adaptive_entropy(methods.grpo(), target=99.0, step=0.05, initial=0.1),
    functools.partial(adaptive, coef=0.15),
    extras=lambda p: {'old_entropy': entropies(p)},
    scores=lambda p: {'entropy': entropies(p)},
  ),
}
