"""Prompts that stand in for those with nothing to compare: VSPO."""

from __future__ import annotations

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments.build import Parts
from experiments.feeders.common import with_extras
from experiments.rollout import make_policy_sampler, rollout, take
from rljax import selection, training


def copies(config: ConfigDict, parts: Parts):
  """Draws other groups in the place of those without a value, and fills `copies` `[P, G]`.

  A group of equal rewards is replaced by a new one of a prompt that is drawn by its value
  (`selection.task_value`), with completions of its own.
  """
  sampler = make_policy_sampler(config, parts)

  @jax.jit
  def replace(key, rewards):
    values = selection.task_value(rewards)[:, 0]
    index = selection.refill_by_value(key, values)
    return index, selection.count_copies(index)

  def feed(drawn, params, key):
    which, new = jax.random.split(key)
    count = len(drawn.problems)
    index, times = map(np.asarray, replace(which, drawn.numbers['rewards']))
    places = np.arange(count)
    if np.any(index != places):
      again = rollout(parts, sampler, params, [drawn.problems[i] for i in index], new)
      # What is known of the old groups alone cannot be kept.
      extras = {name: drawn.batch.extras[name] for name in again.batch.extras}
      drawn = drawn._replace(batch=drawn.batch.replace(extras=extras))
      drawn = take(parts, [drawn, again], np.where(index != places, count + places, places))
    mine = training.sharding.local_rows(parts.mesh, count)
    group = np.repeat(times[mine, None], config.rl.group_size, axis=1)
    return with_extras(parts, drawn, {'copies': group})

  return feed
