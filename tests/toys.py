"""A policy whose parameters are a table of logits, and random batches of its completions."""

import jax.numpy as jnp
import numpy as np
from parity import exact

from rljax import models
from rljax.types import Batch

VOCAB = 11


def _apply(params, tokens, positions, cache=None):
  del positions
  return params['table'][jnp.maximum(tokens, 0)], cache


# The next word depends on the last one alone, so every number can be checked by hand.
TABLE = models.Model(_apply, lambda rows, slots: jnp.zeros((rows, slots)), None)


def table(seed, scale=1.0):
  """Parameters of `TABLE`."""
  return {'table': np.float32(scale * np.random.default_rng(seed).normal(size=(VOCAB, VOCAB)))}


def log_softmax(x):
  x = np.float64(x) - np.max(x, axis=-1, keepdims=True)
  return x - np.log(np.exp(x).sum(-1, keepdims=True))


def previous(prompt, completion):
  """The word before each word of a completion: prompt `[..., Tp]`, completion `[..., T]`."""
  return np.concatenate([prompt[..., -1:], completion[..., :-1]], axis=-1)


def slow_logp(params, prompt, completion, temperature=1.0):
  """Float64 log-probabilities `[..., T]` under a table, 0 where there is no token."""
  law = log_softmax(np.float64(params['table']) / temperature)
  return np.where(completion >= 0, law[previous(prompt, completion), completion], 0.0)


def slow_entropy(params, prompt, completion, temperature=1.0):
  law = log_softmax(np.float64(params['table']) / temperature)
  entropy = -(np.exp(law) * law).sum(-1)
  return np.where(completion >= 0, entropy[previous(prompt, completion)], 0.0)


def problem(seed, sizes, width=4, length=5):
  """Rows of groups of these sizes with prompt `[B, width]` and all that `loops` reads but `logp`.

  Completions are ragged, some masks have holes (tool output), one sequence is not trained at all.
  """
  rng = np.random.default_rng(seed)
  group = np.repeat(np.arange(len(sizes)), sizes)
  rows = len(group)
  lengths = rng.integers(1, length + 1, rows)
  lengths[0] = length
  there = np.arange(length) < lengths[:, None]
  completion = np.where(there, rng.integers(0, VOCAB, (rows, length)), -1).astype(np.int32)
  prompt_lengths = rng.integers(1, width + 1, len(sizes))
  prompt = np.where(
    np.arange(width) >= width - prompt_lengths[:, None],
    rng.integers(0, VOCAB, (len(sizes), width)),
    -1,
  ).astype(np.int32)[group]
  mask = (there & (rng.random((rows, length)) < 0.85)).astype(np.float64)
  mask[0] = there[0]
  mask[1] = 0.0
  correct = (rng.random(rows) < 0.5).astype(np.float64)
  correct[group == len(sizes) - 1] = 1.0
  correct[group == 0] = np.arange(sizes[0]) % 2
  found = {
    'prompt': prompt,
    'completion': completion,
    'mask': mask,
    'correct': correct,
    'rewards': exact(correct - 0.2 * rng.random(rows) * (rng.random(rows) < 0.3)),
    'group': group,
    'keep': None,
  }
  for name, other in (('old', 1), ('ref', 2)):
    found[name] = exact(slow_logp(blend(other), prompt, completion))
  return found


def blend(other, share=0.15):
  """Parameters near `table(0)`: an older policy, or a reference."""
  return {'table': np.float32((1 - share) * table(0)['table'] + share * table(other)['table'])}


def as_batch(p, layout):
  """The problem as a batch: `groups` for `(P, G)` of equal groups, or `rows`."""
  counts = np.bincount(p['group'])
  shape = (len(counts), counts[0]) if layout == 'groups' else (len(p['group']),)

  def arrange(x):
    x = np.float32(x) if x.dtype == np.float64 else x
    return jnp.asarray(x.reshape(*shape, *x.shape[1:]))

  prompt = arrange(p['prompt'])
  return Batch(
    prompt=prompt[:, :1] if layout == 'groups' else prompt,
    completion=arrange(p['completion']),
    mask=arrange(p['mask']),
    rewards=arrange(p['rewards']),
    old_logp=arrange(p['old']),
    behavior_logp=arrange(p['old']),
    ref_logp=arrange(p['ref']),
    keep=None if p['keep'] is None else arrange(p['keep']),
    group=None if layout == 'groups' else jnp.asarray(p['group'], jnp.int32),
    group_shape=None if layout == 'groups' else (len(counts), int(counts.max())),
    extras={'correct': arrange(p['correct'])},
  )


def shuffled(p, seed):
  """The same rows in another order, and that order."""
  order = np.random.default_rng(seed).permutation(len(p['group']))
  return {k: None if v is None else v[order] for k, v in p.items()}, order
