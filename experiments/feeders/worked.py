"""The task's worked solutions as data: a level to reach, a reference answer, demonstrations."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments.build import Parts
from experiments.feeders.common import own_problems, with_extras
from experiments.feeders.texts import beside, fill_behavior, make_policy_score, written
from rljax import training


def expert_logp(config: ConfigDict, parts: Parts):
  """Fills `expert_logp` `[P, G, T]` and `has_expert` `[P, G]`, float32.

  The expert's completion is the worked solution, scored by the policy before the update; 0 past its
  end. A solution of more than T tokens is none.
  """
  score, length = make_policy_score(config, parts), config.rl.max_new_tokens
  spread = jax.jit(
    lambda logp, truncated, rewards: {
      'expert_logp': jnp.broadcast_to(logp, (*rewards.shape, length)),
      'has_expert': jnp.broadcast_to(1.0 - truncated, rewards.shape),
    },
    out_shardings=training.sharding.rows(parts.mesh),
  )

  def feed(drawn, params, key):
    del key
    expert = _solved(parts, drawn, length)
    batch = drawn.batch
    found = spread(score(params, expert).logp, expert.truncated, batch.rewards)
    return drawn._replace(batch=batch.replace(extras={**batch.extras, **found}))

  return feed


def reference(config: ConfigDict, parts: Parts):
  """Fills `reference`, float32 `[P, G + 1]`: the last of each group is the worked solution."""
  score, length = make_policy_score(config, parts), config.rl.max_new_tokens

  def feed(drawn, params, key):
    del key
    answer = _solved(parts, drawn, length)
    answer = fill_behavior(score(params, answer), answer, answer.mask)
    batch = beside(parts, drawn.batch, answer)
    marks = np.zeros((len(own_problems(parts, drawn)), batch.rewards.shape[1]), np.float32)
    marks[:, -1] = 1
    return with_extras(parts, drawn._replace(batch=batch), {'reference': marks})

  return feed


def demonstrations(config: ConfigDict, parts: Parts):
  """Makes the batch a dict of `rollouts` and `demonstrations`, one worked solution a prompt."""

  def feed(drawn, params, key):
    del params, key
    solved = _solved(parts, drawn, config.rl.max_new_tokens)
    return drawn._replace(batch={'rollouts': drawn.batch, 'demonstrations': solved})

  return feed


def _solved(parts, drawn, width):
  """The worked solutions of a rollout's problems as a batch `[P, 1, T]`."""
  texts = [[parts.task.solve(problem)] for problem in own_problems(parts, drawn)]
  return written(parts, drawn, texts, width)
