"""Answers that branch off others at critical tokens: the first stage of CURE."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments.build import Parts
from experiments.feeders.common import own_problems
from experiments.feeders.rounds import (
  check_rows,
  host_batch,
  make_round,
  prompts_after,
  with_rows,
)
from rljax import selection, training


def branches(config: ConfigDict, parts: Parts):
  """Adds branches to every group, as rows: see `methods.cure`; fills `branched`, 1 on those.

  From a critical token of each answer on, `feed.branches.each` others are drawn. What the answer
  has before it is their prompt.
  """
  check_rows(config, 'A group with branches')
  settings, length = config.feed.branches, config.rl.max_new_tokens
  critical = selection.critical_words(
    parts.tokenizer.words(), parts.tokenizer.stops, characters=settings.characters
  )
  go_on = make_round(config, parts, count=settings.each, max_new_tokens=length, longest=length - 1)
  score = training.make_score(parts.model, temperature=config.rl.temperature)
  words = len(critical)

  def find(params, batch, key):
    completion = batch.completion
    known = (completion >= 0) & (completion < words)
    allowed = batch.mask * (known & critical[jnp.clip(completion, 0, words - 1)])
    entropy = score(params, batch).entropy
    return selection.branch_points(key, entropy, allowed, top_k=settings.top_k)

  find = jax.jit(find, out_shardings=training.sharding.rows(parts.mesh))

  def feed(rollout, params, key):
    where, new = jax.random.split(key)
    places = training.sharding.to_local_rows(find(params, rollout.batch, where))  # [p, G]
    completion, mask, rewards, truncated, logp = host_batch(
      rollout, 'completion', 'mask', 'rewards', 'truncated', 'behavior_logp'
    )
    correct = training.sharding.to_local_rows(rollout.batch.extras['correct'])
    count, size = places.shape
    problems = own_problems(parts, rollout)
    each = [problem for problem in problems for _ in range(size)]
    prefixes = [
      ids[:at] for ids, at in zip(completion.reshape(-1, length), places.reshape(-1), strict=True)
    ]
    found = go_on(params, each, prefixes, length - places.reshape(-1), new)

    none = [completion[0, 0, :0]] * count
    first = prompts_after(parts, problems, none, length - 1)
    then = prompts_after(parts, each, prefixes, length - 1)
    shape = (*found.truncated.shape, first.shape[-1])

    def together(originals, branched):
      return np.concatenate([originals, branched.reshape(count, -1, *originals.shape[2:])], axis=1)

    own = {
      'prompt': together(
        np.broadcast_to(first, (count, size, shape[-1])), np.broadcast_to(then, shape)
      ),
      'completion': together(completion, found.completion),
      'mask': together(mask, (found.completion >= 0).astype(np.float32)),
      'rewards': together(rewards, found.score),
      'truncated': together(truncated, found.truncated),
      'behavior_logp': together(logp, found.logp),
    }
    extras = {
      'correct': together(correct, found.correct),
      'branched': together(np.zeros_like(correct), np.ones_like(found.correct)),
    }
    return with_rows(parts, rollout, own, extras)

  return feed
