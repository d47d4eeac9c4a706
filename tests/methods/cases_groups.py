"""Losses of whole groups: right answers against wrong ones, and rankings."""

import math

import loops
import numpy as np
from harness import Case, Expected, T

from rljax import methods


def kept(p, i):
  return p['keep'] is None or p['keep'][i] > 0


def sides(p, rows):
  rows = [i for i in rows if kept(p, i)]
  return [i for i in rows if p['correct'][i] == 1], [i for i in rows if p['correct'][i] == 0]


def places(p, i):
  return [t for t, m in enumerate(p['mask'][i]) if m > 0]


def ratio(p, i, t):
  d = 0.0 if p['old'] is None else p['logp'][i, t] - p['old'][i, t]
  return math.exp(max(-20.0, min(20.0, d))), abs(d) <= 20


def score(p, i, kind):
  """A sequence's score and its gradient by token."""
  ts = places(p, i)
  if not ts:
    return 0.0, {}
  if kind == 'likelihood':
    return sum(p['logp'][i, t] for t in ts) / len(ts), {t: 1 / len(ts) for t in ts}
  ratios = {t: ratio(p, i, t) for t in ts}
  slopes = {t: r * inside / len(ts) for t, (r, inside) in ratios.items()}
  return sum(r for r, _ in ratios.values()) / len(ts), slopes


def discriminate(p, tau, beta, kind='likelihood', lam=None, max_length=T, delta=1e-4):
  """DisCO; DisCO-b for `tau` None, DRPO with `lam`."""
  loss, size, gradient = 0.0, 0.0, np.zeros(p['mask'].shape)
  groups = loops.members(p)
  scores = [score(p, i, kind) for i in range(len(p['mask']))]
  for rows in groups.values():
    right, wrong = sides(p, rows)
    if not right or not wrong:
      continue
    up = [1.0 if lam is None else math.exp(-len(places(p, i)) / max_length / lam) for i in right]
    up = [u / sum(up) for u in up]
    if tau is None:
      down = [1 / len(wrong)] * len(wrong)
      hardest = sum(scores[i][0] for i in wrong) / len(wrong)
    else:
      most = max(scores[i][0] for i in wrong)
      down = [math.exp((scores[i][0] - most) / tau) for i in wrong]
      hardest = most + tau * math.log(sum(down) / len(wrong))
      down = [x / sum(down) for x in down]
    chosen = sum(u * scores[i][0] for u, i in zip(up, right, strict=True))
    loss += (hardest - chosen) / len(groups)
    size += (abs(hardest) + abs(chosen)) / len(groups)
    for i, c in [*zip(right, [-u for u in up], strict=True), *zip(wrong, down, strict=True)]:
      for t, slope in scores[i][1].items():
        gradient[i, t] += c * slope / len(groups)
  real = [(i, t) for i in range(len(p['mask'])) if kept(p, i) for t in places(p, i)]
  if p['old'] is not None and real:
    kl = sum(p['old'][at] - p['logp'][at] for at in real) / len(real)
    excess = max(kl - delta, 0.0)
    loss += beta / 2 * excess**2
    size += beta / 2 * excess**2
    for at in real:
      gradient[at] -= beta * excess / len(real)
  return Expected(loss, {'logp': gradient}, size)


def redi(p, alpha=0.8, gamma=0.0):
  loss, size, gradient = 0.0, 0.0, np.zeros(p['mask'].shape)
  pairs = [s for s in (sides(p, rows) for rows in loops.members(p).values()) if s[0] and s[1]]
  for right, wrong in pairs:
    for side, sign in ((right, -1), (wrong, alpha)):
      for i in side:
        s, slopes = score(p, i, 'likelihood')
        fade = math.exp(gamma * s) if sign > 0 else 1.0
        share = sign / len(side) / len(pairs)
        loss += share * s * fade
        size += abs(share * s * fade)
        for t, slope in slopes.items():
          gradient[i, t] = share * (fade * (1 + gamma * s) if sign > 0 else 1.0) * slope
  return Expected(loss, {'logp': gradient}, size)


def rrhf(p, gamma=1.0, rank_coef=1.0):
  loss, size, gradient = 0.0, 0.0, np.zeros(p['mask'].shape)
  groups = loops.members(p)
  for rows in groups.values():
    rows = [i for i in rows if kept(p, i) and places(p, i)]
    if not rows:
      continue
    total = {i: sum(p['logp'][i, t] for t in places(p, i)) for i in rows}
    n = {i: len(places(p, i)) for i in rows}
    slope = dict.fromkeys(rows, 0.0)
    for i in rows:
      for j in rows:
        lead = total[i] / n[i] ** gamma - total[j] / n[j] ** gamma
        if p['rewards'][i] < p['rewards'][j] and lead > 0:
          loss += rank_coef * lead / len(groups)
          size += rank_coef * lead / len(groups)
          slope[i] += rank_coef / n[i] ** gamma
          slope[j] -= rank_coef / n[j] ** gamma
    best = next(i for i in rows if p['rewards'][i] == max(p['rewards'][k] for k in rows))
    loss -= total[best] / n[best] / len(groups)
    size += abs(total[best] / n[best]) / len(groups)
    slope[best] -= 1 / n[best]
    for i in rows:
      gradient[i, places(p, i)] = slope[i] / len(groups)
  return Expected(loss, {'logp': gradient}, size)


CASES = {
  'disco': Case(methods.disco(), lambda p: discriminate(p, 10.0, 1e3)),
  'disco, likelihood ratio': Case(
    methods.disco(score=methods.likelihood_ratio, tau=1.0, beta=0.1),
    lambda p: discriminate(p, 1.0, 0.1, 'ratio'),
  ),
  'disco_b': Case(methods.disco_b(beta=0.1), lambda p: discriminate(p, None, 0.1)),
  'drpo': Case(
    methods.drpo(max_length=T, tau=0.5, beta=0.1), lambda p: discriminate(p, 0.5, 0.1, lam=0.1)
  ),
  'redi': Case(methods.redi(), redi),
  'redi, gamma': Case(methods.redi(alpha=0.5, gamma=0.3), lambda p: redi(p, 0.5, 0.3)),
  'rrhf': Case(methods.rrhf(), rrhf, ordered=('samples',)),
  'rrhf, gamma': Case(
    methods.rrhf(gamma=0.5, rank_coef=3.0), lambda p: rrhf(p, 0.5, 3.0), ordered=('samples',)
  ),
}
