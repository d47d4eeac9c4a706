"""The final answers of a group as numbers that say which are equal."""

from __future__ import annotations

import numpy as np
from ml_collections import ConfigDict

from experiments.build import Parts
from experiments.feeders.common import own_texts, with_extras


def answers(config: ConfigDict, parts: Parts):
  """Fills `answers`, int32 `[P, G]`: equal numbers in a group are equal answers; -1 is none."""
  del config

  def feed(rollout, params, key):
    del params, key
    numbered = []
    for group in own_texts(parts, rollout):
      found = [parts.task.extract(text) for text in group]
      number = {a: i for i, a in enumerate(dict.fromkeys(a for a in found if a is not None))}
      numbered.append([-1 if a is None else number[a] for a in found])
    return with_extras(parts, rollout, {'answers': np.asarray(numbered, np.int32)})

  return feed
