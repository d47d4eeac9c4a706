"""ADHint's members: completions of a hint beside those without one."""

from __future__ import annotations

import numpy as np
from ml_collections import ConfigDict

from experiments.build import Parts
from experiments.feeders.hints import hint_sampler, hints_in_completions, worked_solutions
from experiments.feeders.texts import beside, fill_behavior, make_policy_score
from experiments.rollout import rollout
from rljax import selection, training


def hinted(config: ConfigDict, parts: Parts):
  """Fills `hinted` `[P, G']` and `hint_mask` `[P, G', T]`, float32.

  To the G completions without a hint come `feed.hinted.samples` of one, G' in all. How much of the
  worked solution it gives away, between `feed.hinted.low` and `high`, follows from the rewards of
  the former (`selection.hint_ratio`).
  """
  settings = config.feed.hinted
  sampler = hint_sampler(config, parts, settings.samples)
  score = make_policy_score(config, parts)

  def feed(drawn, params, key):
    problems = drawn.problems
    solutions = worked_solutions(parts, problems)
    ratio = selection.hint_ratio(drawn.numbers['rewards'], low=settings.low, high=settings.high)
    counts = selection.hint_lengths(ratio, np.array([len(ids) for ids in solutions]))
    counts = np.minimum(np.asarray(counts), config.rl.max_new_tokens - 1)
    hints = [ids[:count] for ids, count in zip(solutions, counts, strict=True)]
    limits = config.rl.max_new_tokens - counts
    again = rollout(parts, sampler, params, problems, key, hints=hints, limits=limits)
    helped = hints_in_completions(parts, again, hints)
    batch = beside(parts, _marked(parts, drawn.batch, hinted=0), _marked(parts, helped, hinted=1))
    batch = fill_behavior(score(params, batch), batch, batch.extras['hint_mask'])
    return drawn._replace(batch=batch)

  return feed


def _marked(parts, batch, *, hinted):
  """The batch with `hinted` everywhere, and a `hint_mask` of zeros unless it has one."""
  mine = training.sharding.local_rows(parts.mesh, len(batch.rewards))
  own = {'hinted': np.full((len(mine), *batch.rewards.shape[1:]), hinted, np.float32)}
  if 'hint_mask' not in batch.extras:
    own['hint_mask'] = np.zeros((len(mine), *batch.mask.shape[1:]), np.float32)
  put = training.sharding.from_local_rows(parts.mesh, len(batch.rewards), own)
  return batch.replace(extras={**batch.extras, **put})
