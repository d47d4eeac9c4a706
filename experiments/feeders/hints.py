"""What feeders share that give away the beginning of a worked solution, as token ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from ml_collections import ConfigDict

from experiments import build
from experiments.build import Parts
from experiments.rollout import Rollout, encode_prompts, make_sampler
from rljax import data, sampling, training
from rljax.types import Batch


def hint_sampler(
  config: ConfigDict, parts: Parts, group_size: int
) -> Callable[..., sampling.Samples]:
  """The run's sampler with a group size of its own."""
  return make_sampler(
    parts,
    group_size=group_size,
    max_new_tokens=config.rl.max_new_tokens,
    warp=build.warp(config.rl),
    processor=build.processor(config.rl, parts),
    in_flight=config.rl.in_flight,
  )


def worked_solutions(parts: Parts, problems: Sequence[data.Problem]) -> list[np.ndarray]:
  """The ids of each problem's right worked solution, without an end token."""
  return [parts.tokenizer.encode(parts.task.solve(problem)) for problem in problems]


def hints_in_completions(parts: Parts, rollout: Rollout, hints: Sequence[np.ndarray]) -> Batch:
  """The batch with each hint at the start of its completions and no longer in its prompt.

  Its `extras['hint_mask']`, float32 `[P, G, T]`, is 1 on the tokens of the hint, where `mask` is 1
  as well; `behavior_logp` is 0 there (`texts.fill_behavior`). What was drawn after a hint must have
  room beside it in T tokens.
  """
  batch, problems = rollout.batch, rollout.problems
  mine = training.sharding.local_rows(parts.mesh, len(problems))
  drawn, drawn_logp = map(training.sharding.to_local_rows, (batch.completion, batch.behavior_logp))
  completion = np.full_like(drawn, -1)
  logp, hint_mask = np.zeros((2, *drawn.shape), np.float32)
  for row, i in enumerate(mine):
    start = len(hints[i])
    room = drawn.shape[-1] - start
    completion[row, :, :start] = hints[i]
    completion[row, :, start:] = drawn[row, :, :room]
    logp[row, :, start:] = drawn_logp[row, :, :room]
    hint_mask[row, :, :start] = 1
  own = {
    'completion': completion,
    'behavior_logp': logp,
    'hint_mask': hint_mask,
    'mask': (completion >= 0).astype(np.float32),
  }
  put = training.sharding.from_local_rows(parts.mesh, len(problems), own)
  extras = {**batch.extras, 'hint_mask': put.pop('hint_mask')}
  return batch.replace(prompt=encode_prompts(parts, problems), extras=extras, **put)
