"""GHPO."""

from __future__ import annotations

from functools import partial

from rljax import advantages, aggregation
from rljax.groups import per_group
from rljax.methods.combinators import stateless
from rljax.methods.terms import policy_terms, token_ratio
from rljax.types import Method


def ghpo(*, clip_low: float = 0.2, clip_high: float = 0.2, eps: float = 1e-4) -> Method:
  """Guided hybrid policy optimisation: GRPO with token means on prompts that may hold a hint.

  What is special happens while sampling: a prompt that no answer solves is asked again with more of
  its solution (`curricula.ghpo_stage`), and the last group is trained on. The hint is prompt, so
  nothing here imitates it; a group that fails with every hint has advantages 0. Whoever samples
  says in `batch.extras['hint_stage']` how far it came; it is asked for, but not read.

  Args:
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.
    eps: added to the group's deviation.

  Source: arXiv 2507.10628; follows the authors' ghpo_trainer.py, but for its token means of each
    microbatch, where this has one of the whole step.
  """
  estimate = partial(advantages.grpo, eps=eps)

  def prepare(batch):
    return batch.replace(advantages=per_group(estimate, batch)(batch.rewards)[..., None])

  method = stateless(
    prepare, **policy_terms(token_ratio, clip_low, clip_high, aggregation.token_mean)
  )
  return method._replace(needs=('hint_stage',))
