"""Methods on shaped and on several rewards, as loops in float64."""

import math

import jax.numpy as jnp
import loops
import numpy as np
from cases_weighted import clipped, lengths, number, standardised
from harness import Case, Expected, T

from rljax import methods, shaping


def rows_of(p):
  return list(loops.members(p).values())


def kept(p, i):
  return p['keep'] is None or p['keep'][i] > 0


def single(extras, p, name):
  return np.float64(np.float32(extras(p)[name]))


def merged(*columns):
  return lambda p: {name: x for extras in columns for name, x in extras(p).items()}


def whole(name, values, whole_groups=False):
  """An extra of some whole numbers, which follows the rows."""
  draw = number(name, 0.0, float(values), whole_groups=whole_groups)
  return lambda p: {name: np.floor(draw(p)[name])}


TAGS = whole('tags', 3)


def slow_adactrl(p):
  rewards, tags = np.zeros(len(p['group'])), single(TAGS, p, 'tags')
  keep = np.ones(len(rewards)) if p['keep'] is None else np.array(p['keep'])
  for rows in rows_of(p):
    right = sum(p['correct'][i] for i in rows)
    label = 0 if right / len(rows) > 0.4 else 1
    longest = max(lengths(p)[i] for i in rows)
    for i in rows:
      n = lengths(p)[i]
      h = (1 - math.cos(math.pi * n / longest)) / 2 if longest else 0.0
      rewards[i] = 1.0 if p['correct'][i] else -1.0
      rewards[i] += 0.5 * (-1.0 if tags[i] == 2 else float(tags[i] == label))
      if tags[i] == label:
        rewards[i] += 0.25 * (1 - h if label == 0 else h)
      rewards[i] -= min(1, max(0, (n - (T - 3)) / 3))
    if len(rows) > 1 and right in (0, len(rows)):
      keep[rows] = 0
  return clipped({**p, 'keep': keep}, standardised(p, rewards), 'token_mean', high=0.28)


def slow_cosine(p):
  rewards = []
  for c, n in zip(p['correct'], lengths(p), strict=True):
    short, long = (2.0, 1.0) if c else (-10.0, 0.0)
    cosine = long + (short - long) * (1 + math.cos(math.pi * n / T)) / 2
    rewards.append(-10.0 if n + 1 >= T else cosine)
  return clipped(p, standardised(p, rewards))


def slow_laser(p):
  rewards = [c * (1.5 if n <= 3 else 1.0) for c, n in zip(p['correct'], lengths(p), strict=True)]
  return clipped(p, standardised(p, rewards), high=0.28)


MODES = merged(whole('modes', 3), number('instant_accuracy', 0.0, 1.0, whole_groups=True))


def slow_a2fm(p):
  modes, accuracy = single(MODES, p, 'modes'), single(MODES, p, 'instant_accuracy')
  rewards = [
    c * (1 - a**2 if a > 1 / 3 and mode != 0 else 1.0)
    for c, mode, a in zip(p['correct'], modes, accuracy, strict=True)
  ]
  return clipped(p, standardised(p, rewards))


PROMPT = whole('prompt_id', 5, whole_groups=True)
KNOWN = [3.0, math.inf, 1.0, 4.0, 2.0]


def slow_hapo(p):
  rewards = []
  for c, n, prompt in zip(p['correct'], lengths(p), single(PROMPT, p, 'prompt_id'), strict=True):
    best = KNOWN[int(prompt)]
    term = 0.0
    if math.isfinite(best):
      f = math.cos(min(math.pi * n / (2 * best), math.pi))
      term = max(f, -0.7) if c else min(f, 0.0)
    rewards.append(c + 0.5 * term)
  return clipped(p, standardised(p, rewards))


def with_memory(method):
  """The method from a state in which something is known."""
  first = method.init()
  return method._replace(init=lambda: {**first, 'shortest': jnp.array(KNOWN)})


REFERENCE = merged(
  number('ref_length', 2.0, 6.0, whole_groups=True),
  number('ref_accuracy', 0.1, 0.9, whole_groups=True),
)


def slow_o1_pruner(p):
  length, accuracy = single(REFERENCE, p, 'ref_length'), single(REFERENCE, p, 'ref_accuracy')
  n = lengths(p)
  raw = {
    i: min(max((length[i] - n[i]) / n[i] + 0.5 * (p['correct'][i] - accuracy[i]), -2.0), 4.0)
    for i in range(len(n))
    if kept(p, i) and n[i]
  }
  mean = sum(raw.values()) / len(raw)
  spread = math.sqrt(sum((x - mean) ** 2 for x in raw.values()) / len(raw))
  loss, size, gradient = 0.0, 0.0, np.zeros(p['mask'].shape)
  for i, x in raw.items():
    ts = [t for t in range(T) if p['mask'][i, t]]
    d = sum(p['logp'][i, t] - p['ref'][i, t] for t in ts) / len(ts)
    value, slope, _ = loops.clipped(d, (x - mean) / spread, 0.2, 0.2)
    loss += value / len(raw)
    size += abs(value) / len(raw)
    for t in ts:
      gradient[i, t] = slope / len(ts) / len(raw)
  return Expected(loss, {'logp': gradient}, size)


WEIGHTS = (1.0, 0.5)


def components(missing):
  """Two rewards: 0 or 1, and a number, of which some are unknown."""
  first = whole('first', 2)
  second = number('second', 0.0, 10.0, unreadable=0.2 if missing else 0.0)
  return lambda p: {'components': np.stack([first(p)['first'], second(p)['second']], axis=-1)}


def slow_normalised(p, over_batch):
  found = single(components(True), p, 'components')
  out = np.zeros(len(found))
  for rows in rows_of(p):
    for k, weight in enumerate(WEIGHTS):
      members = [i for i in rows if not math.isnan(found[i, k])]
      values = [found[i, k] for i in members]
      if len(set(values)) < 2:
        continue
      mean = sum(values) / len(values)
      std = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
      for i in members:
        out[i] += weight * (found[i, k] - mean) / (std + 1e-4)
  if over_batch:
    real = [i for i in range(len(out)) if kept(p, i) and lengths(p)[i]]
    mean = sum(out[i] for i in real) / len(real)
    std = math.sqrt(sum((out[i] - mean) ** 2 for i in real) / (len(real) - 1))
    out = [(a - mean) / (std + 1e-4) for a in out]
  return clipped(p, out)


SEEN = [[0.1, 0.9], [0.5, 0.2]]  # means of the two rewards in the steps before


def slow_dw_grpo(p):
  found = single(components(False), p, 'components')
  slopes = []
  for k, past in enumerate(SEEN):
    values = [*past, found[:, k].mean() / 10]
    slopes.append((values[2] - values[0]) / 2)
  raised = [math.exp(-s / 0.2) for s in slopes]
  total = sum(raised)
  rewards = [sum(r / total * x / 10 for r, x in zip(raised, row, strict=True)) for row in found]
  return clipped(p, standardised(p, rewards))


def tenths(p):
  return {'components': single(components(False), p, 'components') / 10}


def with_past(method):
  """The method after two steps; a step may take the buffers of its state, so each has its own."""

  def init():
    means = jnp.array([[0.0, *means] for means in SEEN])
    return {'weights': {'means': means, 'seen': jnp.array(2, jnp.int32)}, 'inner': ()}

  return method._replace(init=init)


CASES = {
  'adactrl': Case(
    methods.adactrl(
      max_length=T, overlong_buffer=3, delta=0.4, length_weight=0.25, reward=shaping.adactrl
    ),
    slow_adactrl,
    TAGS,
  ),
  'cosine_length': Case(methods.cosine_length(max_length=T, margin=1), slow_cosine),
  'laser': Case(methods.laser(target=3), slow_laser),
  'a2fm': Case(methods.a2fm(), slow_a2fm, MODES),
  'hapo_length': Case(with_memory(methods.hapo_length(prompts=5, weight=0.5)), slow_hapo, PROMPT),
  'o1_pruner': Case(methods.o1_pruner(alpha=0.5), slow_o1_pruner, REFERENCE),
  'mrn': Case(methods.mrn(weights=WEIGHTS), lambda p: slow_normalised(p, False), components(True)),
  'gdpo': Case(methods.gdpo(weights=WEIGHTS), lambda p: slow_normalised(p, True), components(True)),
  'dw_grpo': Case(
    with_past(methods.dw_grpo(rewards=2, window=3, temperature=0.2)), slow_dw_grpo, tenths
  ),
}
