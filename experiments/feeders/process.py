"""How right a completion is part by part: its steps, and the places of its answer."""

from __future__ import annotations

import numpy as np
from ml_collections import ConfigDict

from experiments.build import Parts
from experiments.feeders.common import own_problems, own_texts, with_extras
from experiments.feeders.steps import labels
from rljax import training

_TESTS = 16  # places of an answer, and one for their number


def step_scores(config: ConfigDict, parts: Parts):
  """Fills `step_scores` and `step_mask` `[P, G, S]`: see `methods.prof`.

  In place of a process reward model the task's rule judges each step before the answer, 1 or 0.

  Raises:
    UserError: there is no judge for the task's steps.
  """
  judge = labels(config, parts)

  def feed(drawn, params, key):
    judged = judge(drawn, params, key).batch.extras
    found, count = (training.sharding.to_local_rows(judged[k]) for k in ('labels', 'num_steps'))
    real = np.arange(found.shape[-1]) < count[..., None] - 1  # the answer is no step
    return with_extras(parts, drawn, {'step_scores': found, 'step_mask': real.astype(np.float32)})

  return feed


def passes(config: ConfigDict, parts: Parts):
  """Fills `passes` `[P, G, 1, U]` and `step_id` `[P, G, T]`: see `methods.verpo`.

  A completion is one turn. What is tested is every place of the answer, from its end, and the
  number of places; so all tests pass where the answer is right.
  """
  del config

  def feed(drawn, params, key):
    del params, key
    ended = training.sharding.to_local_rows(drawn.batch.truncated) == 0
    found = np.full((*ended.shape, 1, _TESTS), -1, np.float32)
    pairs = zip(own_problems(parts, drawn), own_texts(parts, drawn), strict=True)
    for p, (problem, texts) in enumerate(pairs):
      for g, text in enumerate(texts):
        answer = (parts.task.extract(text) if ended[p, g] else None) or ''
        results = _places(answer, problem.answer)[:_TESTS]
        found[p, g, 0, : len(results)] = results
    length = training.sharding.to_local_rows(drawn.batch.mask).shape
    return with_extras(parts, drawn, {'passes': found, 'step_id': np.zeros(length, np.int32)})

  return feed


def _places(answer, target):
  """Whether the number of places is right, then each of them, from the end."""
  reverse = answer[::-1]
  places = [reverse[i : i + 1] == wanted for i, wanted in enumerate(target[::-1])]
  return [len(answer) == len(target), *places]
