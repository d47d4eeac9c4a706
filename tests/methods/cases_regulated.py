"""Methods that regress, normalise, select or regularise by token, as loops in float64."""

import math

import loops
import numpy as np
from harness import Case, Expected, T
from parity import exact

from rljax import advantages, methods, surrogates, token_weights


def kept_tokens(p):
  """Places (row, token) that are trained."""
  return [(i, t) for i, ts in enumerate(loops.trained(p)) for t in ts]


def difference(p, i, t):
  return 0.0 if p['old'] is None else p['logp'][i, t] - p['old'][i, t]


def at(p, logp_gradient, loss, size, **others):
  return Expected(loss, {'logp': logp_gradient, **others}, size)


def wave(name, center, size, speed):
  """Deterministic numbers per token that belong to the problem, whatever its order."""
  return lambda p: {name: exact(center + size * np.sin(speed * p['logp']))}


def plain(estimate):
  """Advantages of a problem per row."""
  return lambda p: loops.group_advantages(p, p['rewards'], estimate)


# ROVER


def slow_rover(p, rho=1.0, eta=1.0, clip=None, estimate=None):
  w = loops.weights(p, 'token_mean')
  found = [wave('m', -9, 0.5, 5)(p)['m'], wave('m', -9, 0.5, 3)(p)['m']]
  if estimate is not None:
    reward = estimate(p)
  else:
    reward = loops.group_advantages(p, p['rewards'], 'center')
    for rows in loops.members(p).values():
      if len(rows) == 1:
        reward[rows[0]] = p['rewards'][rows[0]]
  loss, size, slope = 0.0, 0.0, np.zeros(w.shape)
  for i, t in kept_tokens(p):
    target = reward[i]
    if t + 1 < T and p['mask'][i, t + 1] > 0 and p['old'] is not None:
      target += eta * rho * (found[0][i, t + 1] - found[1][i, t + 1])
    q, moves = rho * difference(p, i, t), 1.0
    if clip is not None and target > q > math.log(1 + clip):
      q, moves = math.log(1 + clip), 0.0
    if clip is not None and target < q < math.log(1 - clip):
      q, moves = math.log(1 - clip), 0.0
    loss += w[i, t] * (q - target) ** 2
    size += w[i, t] * (q * q + target * target)
    slope[i, t] = w[i, t] * 2 * (q - target) * rho * moves
  return at(p, slope, loss, size)


ROVER = {
  'extras': wave('old_mean_logp', -9, 0.5, 3),
  'scores': wave('mean_logp', -9, 0.5, 5),
}


# GRAO: the first row of each group is the reference


def references(p):
  found = np.zeros(len(p['group']))
  for rows in loops.members(p).values():
    found[min(rows)] = 1.0
  return {'reference': found}


def slow_grao(p, beta=0.5, pairwise=0.6, joint=False):
  reference, places = references(p)['reference'], loops.trained(p)
  groups = loops.members(p).values()
  prompts = sum(any(places[i] for i in rows) for rows in groups)
  slope, loss, size = np.zeros(p['mask'].shape), 0.0, 0.0
  for rows in groups:
    r = {i: p['rewards'][i] for i in rows}
    measured = [x for i, x in r.items() if joint or not reference[i]]
    if len(set(measured)) < 2:
      continue
    mu = sum(measured) / len(measured)
    sigma = math.sqrt(sum((x - mu) ** 2 for x in measured) / len(measured))
    a = {i: (x - mu) / (sigma + 1e-8) for i, x in r.items()}
    samples = [i for i in rows if not reference[i] and places[i]]
    answers = [i for i in rows if reference[i] and places[i]]
    share = dict.fromkeys(rows, 0.0)  # what multiplies each mean log-probability
    for i in samples:
      share[i] += a[i] / len(samples)
      for y in answers:
        share[y] += beta * a[y] / len(samples) - pairwise * a[i] / len(samples)
        share[i] += pairwise * a[i] / len(samples)
    for i in samples + answers:
      for t in places[i]:
        slope[i, t] = -share[i] / len(places[i]) / prompts
        loss += slope[i, t] * p['logp'][i, t]
        size += abs(slope[i, t] * p['logp'][i, t])
  return at(p, slope, loss, size)


# GRPO-Guard


def slow_guard(p, max_length, buckets, low=0.2, high=0.2):
  a, w = plain('grpo')(p), loops.weights(p, 'sequence_mean')
  places = kept_tokens(p)
  bucket = [min(t * buckets // max_length, buckets - 1) for t in range(T)]
  center, spread, count = np.zeros(buckets), np.zeros(buckets), np.zeros(buckets)
  for b in range(buckets):
    x = [difference(p, i, t) for i, t in places if bucket[t] == b]
    if x:
      center[b], count[b] = sum(x) / len(x), len(x)
      spread[b] = math.sqrt(sum((v - center[b]) ** 2 for v in x) / len(x))
  pooled = math.sqrt(sum(count * spread**2) / max(sum(count), 1))
  slope, loss, size = np.zeros(w.shape), 0.0, 0.0
  for i, t in places:
    b = bucket[t]
    scale = spread[b] / pooled if spread[b] > 1e-8 else 1.0
    value, derivative, _ = loops.clipped((difference(p, i, t) - center[b]) / scale, a[i], low, high)
    loss += w[i, t] * value * scale
    size += abs(w[i, t] * value * scale)
    slope[i, t] = w[i, t] * derivative
  return at(p, slope, loss, size)


# Dual clip, HAPO, CURE


def dual_clipped(log_ratio, advantage, low, high, cap):
  if advantage < 0 and math.exp(min(log_ratio, 20)) > cap:
    return -advantage * cap, 0.0
  return loops.clipped(log_ratio, advantage, low, high)[:2]


def mixed_and_shaped(p, max_length, buffer):
  """DAPO's selection, as a problem, and its rewards."""
  rewards = [
    r - min(1, max(0, (sum(m > 0) - (max_length - buffer)) / buffer))
    for r, m in zip(p['rewards'], p['mask'], strict=True)
  ]
  keep = np.ones(len(rewards)) if p['keep'] is None else np.array(p['keep'])
  for rows in loops.members(p).values():
    if len(rows) > 1 and len({float(p['correct'][i]) for i in rows}) == 1:
      keep[rows] = 0
  return {**p, 'keep': keep}, rewards


def slow_cure(p, cap=10.0):
  p, rewards = mixed_and_shaped(p, T, 3)
  a, w = loops.group_advantages(p, rewards, 'grpo'), loops.weights(p, 'token_mean')
  slope, loss, size = np.zeros(w.shape), 0.0, 0.0
  for i, t in kept_tokens(p):
    value, derivative = dual_clipped(difference(p, i, t), a[i], 0.2, 0.28, cap)
    loss, size = loss + w[i, t] * value, size + abs(w[i, t] * value)
    slope[i, t] = w[i, t] * derivative
  return at(p, slope, loss, size)


old_entropy = wave('old_entropy', 1.2, 1.1, 7)


def slow_hapo(p, pivot=0.8, signed=True, cap=10.0):
  p, rewards = mixed_and_shaped(p, T, 3)
  w, entropy = loops.weights(p, 'token_mean'), old_entropy(p)['old_entropy']
  fallback, a = loops.group_advantages(p, rewards, 'grpo'), np.zeros(len(rewards))
  for rows in loops.members(p).values():
    values = [rewards[i] for i in rows for m in p['mask'][i] if m > 0]
    if len(set(values)) < 2:
      continue
    mu = sum(values) / len(values)
    sd = math.sqrt(sum((v - mu) ** 2 for v in values) / len(values))
    speaking = [i for i in rows if p['mask'][i].any()]
    far = any(abs((rewards[i] - mu) / (sd + 1e-6)) >= 5 for i in speaking)
    for i in speaking:
      a[i] = fallback[i] if far else (rewards[i] - mu) / (sd + 1e-6)
  places = kept_tokens(p)
  x = {place: math.log(max(entropy[place], 1e-8)) for place in places}
  q = sorted(x.values())[round(pivot * (len(x) - 1))] if x else 0.0
  most, least = max(x.values(), default=0) - q, min(x.values(), default=0) - q
  slope, loss, size = np.zeros(w.shape), 0.0, 0.0
  for i, t in places:
    h = x[i, t] - q
    h = h / most if h > 0 else (h / (abs(least) if signed else least) if h < 0 else 0.0)
    low, high = (0.2, 0.28 * (1 + h)) if h > 0 else (0.2 * (1 - h), 0.28)
    ratio = math.exp(max(-20, min(20, difference(p, i, t))))
    neutral = 1 - low / 2 < ratio < 1 + high / 2
    moved = a[i] * (1 + h) if (h > 0) != neutral else a[i]
    value, derivative = dual_clipped(difference(p, i, t), moved, low, high, cap)
    loss, size = loss + w[i, t] * value, size + abs(w[i, t] * value)
    slope[i, t] = w[i, t] * derivative
  return at(p, slope, loss, size)


# D3S


def slow_d3s(p, samples, share):
  a = plain('grpo')(p)
  choice = sorted((a[i], i) for i, ts in enumerate(loops.trained(p)) if ts)
  n = min(math.ceil(samples), len(choice))
  best, chosen = -1.0, []
  for k in range(n + 1):  # k largest, the others smallest; the least k of equally good ones
    subset = choice[: n - k] + choice[len(choice) - k :]
    spread = np.var([v for v, _ in subset]) if subset else 0.0
    if spread > best + 1e-5:
      best, chosen = spread, [i for _, i in subset]
  keep = np.zeros(len(a))
  keep[chosen] = 1
  p = {**p, 'keep': keep}
  entropy = old_entropy(p)['old_entropy']
  ranked = sorted(kept_tokens(p), key=lambda place: -abs(a[place[0]]) * entropy[place])
  mask = np.zeros(p['mask'].shape)
  for place in ranked[: math.ceil(share * len(ranked))]:
    mask[place] = 1
  w = loops.weights({**p, 'mask': mask}, 'token_mean')
  loss, slope, _, size = loops.clipped_tokens(p, loops.spread(a, T), w, 0.2, 0.2)
  return at(p, slope, loss, size)


# Lp-Reg


old_proxy = wave('old_proxy_logp', 0.1, 0.6, 9)
proxy_kl = wave('proxy_kl', 0.7, 0.5, 4)


def proxies(p):
  return {'old_proxy_logp': exact(p['logp'] + old_proxy(p)['old_proxy_logp'])}


def slow_lp_reg(p, rho, beta=1.0, cap=10.0, everyone=False, kl=False):
  a, w, proxy = plain('grpo')(p), loops.weights(p, 'token_mean'), proxies(p)['old_proxy_logp']
  pool = [(p['logp'][i, t], i, t) for i, t in kept_tokens(p) if everyone or a[i] < 0]
  wanted = int(rho * len(pool))
  least = {(i, t) for _, i, t in sorted(pool)[:wanted]} if wanted > 1 else set()
  slope, loss, size = np.zeros(w.shape), 0.0, 0.0
  others = np.zeros(w.shape)
  for i, t in kept_tokens(p):
    inside = everyone or p['logp'][i, t] < proxy[i, t]
    gated = (i, t) in least and a[i] < 0 and inside
    lr = difference(p, i, t)
    ratio, free = math.exp(max(-20, min(20, lr))), abs(lr) <= 20
    value, derivative = -a[i] * ratio, -a[i] * ratio * free
    if kl or not gated:
      over = ratio > cap and (kl or a[i] > 0)
      value, derivative = (-a[i] * cap, 0.0) if over else (value, derivative)
    if gated and kl:
      value += beta * proxy_kl(p)['proxy_kl'][i, t]
      others[i, t] = w[i, t] * beta
    elif gated:
      d = proxy[i, t] - p['logp'][i, t]
      k3 = math.exp(d) - 1 - d
      value += beta * min(k3, 10)
      derivative += beta * (1 - math.exp(d)) * (k3 <= 10)
    loss, size = loss + w[i, t] * value, size + abs(w[i, t] * value)
    slope[i, t] = w[i, t] * derivative
  return at(p, slope, loss, size, proxy_kl=others)


# SIREN


nucleus = wave('nucleus_entropy', 0.6, 0.5, 7)
old_nucleus = wave('old_nucleus_entropy', 0.9, 0.4, 5)


def peak_weights(p, x, level):
  """Weight of each token in the average entropy at the peaks."""
  peaks = []
  for i, ts in enumerate(loops.trained(p)):
    row = sorted(x[i, t] for t in ts)
    if not row:
      continue
    place = level * (len(row) - 1)
    low, high = row[math.floor(place)], row[math.ceil(place)]
    above = [t for t in ts if x[i, t] > low + (place - math.floor(place)) * (high - low)]
    peaks += [(i, above)] if above else []
  w = np.zeros(p['mask'].shape)
  for i, above in peaks:
    for t in above:
      w[i, t] = 1 / len(above) / len(peaks)
  return w


def slow_siren(p, coef, max_length=9, anchor=None, level=0.8):
  loss, slope, _, size = loops.dr_grpo(p, max_length=max_length, low=0.28, high=0.28)
  x, old = nucleus(p)['nucleus_entropy'], old_nucleus(p)['old_nucleus_entropy']
  if anchor is None:
    anchor = (peak_weights(p, old, level) * old).sum()
  w = peak_weights(p, x, level)
  gap = (w * x).sum() - anchor if w.any() else 0.0
  gradient = coef * 2 * gap * w
  return at(p, slope, loss + coef * gap**2, size + coef * gap**2, nucleus_entropy=gradient)


# Chi-squared


def sequence_chi2(z):
  """f(z) + f(-z), and its derivative."""

  def f(z):
    return math.expm1(z) if z < 10 else math.exp(10) * (1 + z - 10) - 1

  return f(z) + f(-z), math.exp(min(z, 10)) - math.exp(min(-z, 10))


def slow_chi2(p, coef):
  loss, slope, _, size = loops.grpo(p)
  places = {i: ts for i, ts in enumerate(loops.trained(p)) if ts}
  z = {i: sum(p['logp'][i, t] - p['ref'][i, t] for t in ts) for i, ts in places.items()}
  if not z:
    return at(p, slope, loss, size)
  found = sum(sequence_chi2(x)[0] for x in z.values()) / len(z)
  root = math.sqrt(max(found, 1e-4))
  for i, ts in places.items():
    for t in ts:
      slope[i, t] += coef * (found > 1e-4) / (2 * root) * sequence_chi2(z[i])[1] / len(z)
  return at(p, slope, loss + coef * root, size + coef * root)


def slow(fn, **kwargs):
  return lambda p: fn(p, **kwargs)


DAPO = {'max_length': T, 'overlong_buffer': 3}

CASES = {
  'rover': Case(methods.rover(), slow_rover, **ROVER),
  'rover, clip': Case(
    methods.rover(rho=0.7, eta=0.5, clip=0.2, estimate=advantages.grpo),
    slow(slow_rover, rho=0.7, eta=0.5, clip=0.2, estimate=plain('grpo')),
    **ROVER,
  ),
  'grao': Case(methods.grao(), slow_grao, extras=references),
  'grao, joint': Case(
    methods.grao(beta=0.3, pairwise=0.9, estimate=advantages.grao_joint),
    slow(slow_grao, beta=0.3, pairwise=0.9, joint=True),
    extras=references,
  ),
  'grpo_guard': Case(
    methods.grpo_guard(max_length=T, buckets=3), slow(slow_guard, max_length=T, buckets=3)
  ),
  'hapo': Case(methods.hapo(**DAPO), slow_hapo, extras=old_entropy),
  'hapo, unsigned': Case(
    methods.hapo(**DAPO, pivot=0.5, statistics=token_weights.unsigned_entropy_statistics, cap=2.0),
    slow(slow_hapo, pivot=0.5, signed=False, cap=2.0),
    extras=old_entropy,
  ),
  'd3s': Case(
    methods.d3s(samples_init=7, samples_final=9, tokens_init=0.55, tokens_final=0.9, steps=5),
    slow(slow_d3s, samples=7, share=0.55),
    extras=old_entropy,
    by_place=True,
  ),
  'cure': Case(methods.cure(**DAPO), slow_cure),
  'lp_reg': Case(methods.lp_reg(rho=0.6), slow(slow_lp_reg, rho=0.6), extras=proxies),
  'lp_reg, of all': Case(
    methods.lp_reg(rho=0.6, beta=0.5, gate=surrogates.lp_gate_of_all),
    slow(slow_lp_reg, rho=0.6, beta=0.5, everyone=True),
    extras=proxies,
  ),
  'lp_reg_paper': Case(
    methods.lp_reg_paper(rho=0.6, cap=2.0),
    slow(slow_lp_reg, rho=0.6, cap=2.0, everyone=True, kl=True),
    extras=proxies,
    scores=proxy_kl,
  ),
  'siren': Case(
    methods.siren(max_length=9, coef=0.5),
    slow(slow_siren, coef=0.5),
    extras=old_nucleus,
    scores=nucleus,
  ),
  'siren, fixed anchor': Case(
    methods.siren(max_length=9, coef=0.5, anchor=0.2, level=0.5),
    slow(slow_siren, coef=0.5, anchor=0.2, level=0.5),
    scores=nucleus,
  ),
  'chi2': Case(methods.chi2(coef=0.1), slow(slow_chi2, coef=0.1)),
}
