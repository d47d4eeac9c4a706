"""GHPO's hints: prompts that nobody solves are asked again with more of their solution."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from experiments.build import Parts
from experiments.feeders.common import with_extras
from experiments.feeders.hints import hint_sampler
from experiments.rollout import encode_prompts, rollout
from rljax import curricula, training
from rljax.types import Batch

_STAGES = 4  # a hint is stage / 4 of the characters of the solution


def hint_stage(config: ConfigDict, parts: Parts):
  """Fills `hint_stage`, float32 `[P, G]`, and puts the hint of the prompt's stage into the prompt.

  A group of wrong answers is replaced by one that was given a quarter of the worked solution, then
  half, then three quarters (`curricula.ghpo_stage`). Every prompt is as wide as the longest with
  its whole solution. Before `feed.hint_stage.start_step` there are no hints.
  """
  sampler = hint_sampler(config, parts, config.rl.group_size)

  def feed(drawn, params, key):
    problems, batch = drawn.problems, drawn.batch
    # What else is known of a completion does not hold of another in its place.
    batch = batch.replace(extras={'correct': batch.extras['correct']})
    texts = [parts.task.solve(problem) for problem in problems]
    correct = drawn.numbers['correct']
    stage = np.zeros(len(problems), np.int32)
    hints = _hints(parts, texts, stage)
    while drawn.step >= config.feed.hint_stage.start_step:
      following = np.asarray(curricula.ghpo_stage(stage, correct, last=_STAGES - 1))
      asked = following > stage
      if not asked.any():
        break
      stage = following
      hints = _hints(parts, texts, stage)
      # Nobody waits for the others, of which one token is drawn and dropped.
      limits = np.where(asked, config.rl.max_new_tokens, 1)
      round_key = jax.random.fold_in(key, int(stage.max()))
      again = rollout(parts, sampler, params, problems, round_key, hints=hints, limits=limits)
      correct = np.where(asked[:, None], again.numbers['correct'], correct)
      batch = _chooser(parts.mesh)(asked, again.batch, batch)
    given = [parts.tokenizer.decode(ids) for ids in hints]
    batch = batch.replace(prompt=encode_prompts(parts, problems, hints))
    mine = training.sharding.local_rows(parts.mesh, len(problems))
    stages = np.repeat(stage[mine, None].astype(np.float32), config.rl.group_size, axis=1)
    return with_extras(parts, drawn._replace(batch=batch, given=given), {'hint_stage': stages})

  return feed


def _hints(parts, texts, stage):
  """Ids of the first `stage / 4` of the characters of each text."""
  lengths = curricula.hint_length(np.array([len(t) for t in texts]), stage / _STAGES)
  return [
    parts.tokenizer.encode(text[:length])
    for text, length in zip(texts, np.asarray(lengths), strict=True)
  ]


@functools.cache
def _chooser(mesh: Mesh) -> Callable[[np.ndarray, Batch, Batch], Batch]:
  """Groups of the one batch where `asked` `[P]` is true, of the other elsewhere."""

  def choose(asked, new, old):
    def pick(x, y):
      return jnp.where(asked.reshape(-1, *(1,) * (x.ndim - 1)), x, y)

    names = ('completion', 'mask', 'rewards', 'truncated', 'behavior_logp')
    return old.replace(
      **{name: pick(getattr(new, name), getattr(old, name)) for name in names},
      extras=jax.tree.map(pick, new.extras, old.extras),
    )

  return jax.jit(choose, out_shardings=training.sharding.rows(mesh))
