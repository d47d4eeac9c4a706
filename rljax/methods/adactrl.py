"""AdaCtrl."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax

from rljax import shaping
from rljax.groups import per_group
from rljax.methods.combinators import with_rewards
from rljax.methods.dapo import dapo
from rljax.methods.reading import correct, extra
from rljax.types import Method


def adactrl(
  *,
  max_length: int,
  overlong_buffer: int,
  delta: float = 0.625,
  format_weight: float = 0.5,
  length_weight: float = 0.5,
  clip_low: float = 0.2,
  clip_high: float = 0.28,
  reward: Callable[..., jax.Array] = shaping.adactrl,
) -> Method:
  """DAPO on rewards for naming a problem's difficulty, and for a length that goes with it.

  Reads `batch.extras['tags']`, `[*N]`: `shaping.EASY`, `HARD` or `MISSING`, which
  `verifiers.difficulty_tag` reads from a completion.

  Args:
    max_length: longest completion, in tokens.
    overlong_buffer: tokens before `max_length` over which a punishment grows to -1.
    delta: share of right answers that an easy prompt exceeds.
    format_weight: weight of the tag.
    length_weight: weight of the length.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.
    reward: `shaping.adactrl_paper` for the paper's length reward.

  Source: arXiv 2505.18822; rewards and numbers follow the authors' code and qwen-7b.sh.
  """
  shaped = partial(reward, delta=delta, format_weight=format_weight, length_weight=length_weight)

  def rewards(batch):
    tags = extra(batch, 'tags', 'the difficulty that each completion names')
    return per_group(shaped, batch)(correct(batch), batch.lengths, tags)

  method = dapo(
    max_length=max_length,
    overlong_buffer=overlong_buffer,
    clip_low=clip_low,
    clip_high=clip_high,
  )

  def prepare(state, batch):
    # The selection of groups must not take the shaped rewards for correctness.
    extras = {**batch.extras, 'correct': correct(batch)}
    return inner.prepare(state, batch.replace(extras=extras))

  inner = with_rewards(rewards, method)
  return inner._replace(prepare=prepare, needs=('tags',))
