"""Monte-Carlo values within completions: SPO's chain."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments.build import Parts
from experiments.feeders.common import own_problems, with_extras
from experiments.feeders.rounds import host_batch, make_round
from rljax import advantages


def cuts(config: ConfigDict, parts: Parts):
  """Fills `cuts` and `values_at_cuts`, float32 `[P, G, T]`: see `methods.spo_chain`.

  The value before a token is the mean reward of `feed.cuts.completions` fresh completions of what
  stands before it. There are as many places as a completion of the greatest length could have.
  """
  settings, length = config.feed.cuts, config.rl.max_new_tokens
  size = -(-length // settings.interval)
  go_on = make_round(
    config, parts, count=settings.completions, max_new_tokens=length, longest=length - 1
  )

  @jax.jit
  def find(logp, mask):
    probs = jnp.exp(jnp.where(mask > 0, logp, 0.0))
    found = advantages.cut_points(
      probs, mask, threshold=settings.threshold, interval=settings.interval
    )
    return advantages.cut_positions(found, size=size)

  @jax.jit
  def place(rewards, positions):
    return advantages.place_values(rewards, positions, length=length)

  def feed(rollout, params, key):
    completion, logp, mask = host_batch(rollout, 'completion', 'behavior_logp', 'mask')
    positions = np.asarray(find(logp, mask))  # [p, G, S]
    p, g, _ = np.indices(positions.shape).reshape(3, -1)
    places = positions.reshape(-1)
    problems = own_problems(parts, rollout)
    drawn = go_on(
      params,
      [problems[i] for i in p],
      [completion[i, j, : max(at, 0)] for i, j, at in zip(p, g, places, strict=True)],
      np.where(places >= 0, length - places, 1),
      key,
    )
    found, values = place(drawn.score.reshape(*positions.shape, -1), positions)
    return with_extras(parts, rollout, {'cuts': found, 'values_at_cuts': values})

  return feed
