"""The reward of each prompt's greedy completion, ReMax's baseline."""

from __future__ import annotations

import numpy as np
from ml_collections import ConfigDict

from experiments import build
from experiments.build import Parts
from experiments.feeders.common import with_extras
from experiments.rollout import make_sampler, rollout
from rljax import sampling, training


def greedy_rewards(config: ConfigDict, parts: Parts):
  """Fills `greedy_rewards`, float32 `[P, G]`, from one more completion a prompt."""
  sampler = make_sampler(
    parts,
    group_size=1,
    max_new_tokens=config.rl.max_new_tokens,
    warp=sampling.greedy,
    processor=build.processor(config.rl, parts),
    in_flight=config.rl.in_flight,
  )

  def feed(drawn, params, key):
    best = rollout(parts, sampler, params, drawn.problems, key)
    mine = training.sharding.local_rows(parts.mesh, len(drawn.problems))
    rewards = np.repeat(best.numbers['rewards'][mine], config.rl.group_size, axis=1)
    return with_extras(parts, drawn, {'greedy_rewards': rewards})

  return feed
