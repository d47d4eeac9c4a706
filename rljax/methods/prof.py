"""PROF."""

from __future__ import annotations

from functools import partial

from rljax import advantages, selection
from rljax.groups import per_group
from rljax.methods.grpo import grpo
from rljax.methods.reading import correct, extra, kept
from rljax.types import Method


def prof(
  *,
  size: int,
  penalty: float,
  max_steps: int,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  eps: float = 1e-6,
  ddof: int = 1,
) -> Method:
  """GRPO on the responses whose steps agree with their outcome, standardised among themselves.

  Of each group `size` are kept, right and wrong ones in equal numbers as far as there are. Reads
  `batch.extras`: `step_scores` `[*N, S]` of a process reward model and `step_mask` `[*N, S]`, 1 on
  real steps.

  Args:
    size: the paper's m, below the group's size.
    penalty: what a score loses for a single step, and for too many; no value was seen, nor of the
      two beside it.
    max_steps: number of steps that is too many.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.
    eps: added to the deviation of those kept.
    ddof: 1 for the unbiased deviation.

  Source: PROF-GRPO with filtering of both sides, arXiv 2509.03403; `selection.prof_select_pos` is
  the other one.
  """
  method = grpo(clip_low=clip_low, clip_high=clip_high)
  select = partial(selection.prof_select, size=size)

  def standardise(rewards, chosen, where=None):
    del where  # nobody else was chosen
    return advantages.grpo(rewards, chosen, eps=eps, ddof=ddof)

  def prepare(state, batch):
    right = correct(batch)
    scores = selection.prof_score(
      extra(batch, 'step_scores', 'the score of each step from a process reward model, [*N, S]'),
      right,
      extra(batch, 'step_mask', '1 on real steps, [*N, S]'),
      penalty=penalty,
      max_steps=max_steps,
    )
    chosen = per_group(select, batch)(scores, right)
    estimate = per_group(standardise, batch)(batch.rewards, chosen)
    return state, batch.replace(advantages=estimate[..., None], keep=kept(batch) * chosen)

  return method._replace(prepare=prepare, needs=('step_mask', 'step_scores'))
