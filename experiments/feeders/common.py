"""What feeders share: the text of a rollout, and numbers on their way into its batch."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from experiments.build import Parts
from experiments.rollout import Rollout
from rljax import data, training


def own_problems(parts: Parts, rollout: Rollout) -> list[data.Problem]:
  """The problems of the rows that this process holds."""
  rows = training.sharding.local_rows(parts.mesh, len(rollout.problems))
  return [rollout.problems[i] for i in rows]


def own_texts(parts: Parts, rollout: Rollout) -> list[list[str]]:
  """The completions of the rows that this process holds, a list a group."""
  completion = training.sharding.to_local_rows(rollout.batch.completion)
  return [[parts.tokenizer.decode(ids) for ids in group] for group in completion]


def with_extras(parts: Parts, rollout: Rollout, own: dict[str, Any]) -> Rollout:
  """The rollout with more extras, from arrays of the rows that this process holds."""
  put = training.sharding.from_local_rows(
    parts.mesh, len(rollout.problems), {k: np.asarray(v) for k, v in own.items()}
  )
  batch = rollout.batch
  return rollout._replace(batch=dataclasses.replace(batch, extras={**batch.extras, **put}))
