"""A worked solution as the episode of an agent, whose steps are rows: GiGPO and HGPO."""

from __future__ import annotations

import zlib

import numpy as np
from ml_collections import ConfigDict

from experiments.build import Parts
from experiments.feeders.common import own_problems
from experiments.feeders.rounds import check_rows, host_batch, prompts_after, with_rows
from experiments.feeders.steps import ends_of_steps, rules_of, step_numbers
from rljax import training


def episodes(config: ConfigDict, parts: Parts):
  """Replaces the batch by the steps of its completions: see `methods.gigpo`.

  A row is a step and its prompt is what stands before it. What a step has to go on from, its
  `state`, is its number and the text of the step before it. The reward of the last step is that of
  the completion, of any other 0. There are places for `feed.steps.most` steps of each completion,
  the last of which holds all that is left; empty ones have `keep` 0 and `trajectory` -1.
  """
  check_rows(config, 'A batch of steps')
  rules, most, length = rules_of(parts), config.feed.steps.most, config.rl.max_new_tokens

  def feed(rollout, params, key):
    del params, key
    completion, logp, rewards, truncated = host_batch(
      rollout, 'completion', 'behavior_logp', 'rewards', 'truncated'
    )
    correct = training.sharding.to_local_rows(rollout.batch.extras['correct'])
    step_id = step_numbers(ends_of_steps(parts, rules.delimiters, completion, most - 1))
    step_id = np.where(completion >= 0, step_id, -1)
    shape = (*correct.shape, most)
    own = {
      'completion': np.full((*shape, length), -1, np.int32),
      'behavior_logp': np.zeros((*shape, length), np.float32),
      'truncated': np.zeros(shape, np.float32),
      'rewards': np.repeat(rewards[..., None], most, axis=-1),
      'keep': np.zeros(shape, np.float32),
    }
    extras = {
      'correct': np.repeat(correct[..., None], most, axis=-1),
      'step_rewards': np.zeros(shape, np.float32),
      'trajectory': np.full(shape, -1, np.int32),
      'step': np.broadcast_to(np.arange(most, dtype=np.int32), shape),
      'state': np.zeros(shape, np.int32),
    }
    prefixes = []
    for p, g, number in np.ndindex(shape):
      tokens = np.flatnonzero(step_id[p, g] == number)
      at = (p, g, number)
      prefixes.append(completion[p, g, : tokens[0] if tokens.size else 0])
      if not tokens.size:
        continue
      own['completion'][at][: tokens.size] = completion[p, g, tokens]
      own['behavior_logp'][at][: tokens.size] = logp[p, g, tokens]
      own['keep'][at] = 1.0
      last = number == step_id[p, g].max()
      own['truncated'][at] = last * truncated[p, g]
      extras['step_rewards'][at] = last * rewards[p, g]
      extras['trajectory'][at] = g
      before = parts.tokenizer.decode(completion[p, g, step_id[p, g] == number - 1])
      # Any hash that is the same on every machine and in every process; Python's own is not.
      extras['state'][at] = zlib.crc32(f'{number} {before}'.encode()) >> 1
    problems = own_problems(parts, rollout)
    each = [problem for problem in problems for _ in range(shape[1] * most)]
    prompt = prompts_after(parts, each, prefixes, length - 1)
    own['prompt'] = prompt.reshape(*shape, prompt.shape[-1])
    own['mask'] = (own['completion'] >= 0).astype(np.float32)

    def of_problem(x):
      return x.reshape(shape[0], -1, *x.shape[3:])

    own, extras = ({k: of_problem(x) for k, x in each.items()} for each in (own, extras))
    return with_rows(parts, rollout, own, extras)

  return feed
