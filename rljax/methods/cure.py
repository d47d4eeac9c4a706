"""CURE."""

from __future__ import annotations

from rljax import aggregation, surrogates
from rljax.methods.dapo import dapo
from rljax.methods.terms import token_ratio
from rljax.types import Method, Term


def cure(
  *,
  max_length: int,
  overlong_buffer: int,
  clip_low: float = 0.2,
  clip_high: float = 0.28,
  cap: float = 10.0,
) -> Method:
  """The update of critical-token-guided re-concatenation: DAPO with a dual clip.

  What is special is the rollout of its first stage. Some answers of each prompt are branched off at
  `selection.branch_points`, and answers and branches are one group; the tokens before a branch are
  its prompt and have no loss. A rollout marks them in `batch.extras['branched']`, which nobody
  reads here.

  Args:
    max_length: longest completion, in tokens; a branch counts what is new in it.
    overlong_buffer: tokens before `max_length` over which the punishment grows to -1.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.
    cap: the largest ratio of a negative advantage.

  Source: arXiv 2508.11016; the authors' recipe/CURE_First_Stage.
  """
  method = dapo(
    max_length=max_length, overlong_buffer=overlong_buffer, clip_low=clip_low, clip_high=clip_high
  )

  def policy(scores, batch):
    ratio = token_ratio(scores, batch)
    return surrogates.dual_clipped(ratio, batch.advantages, clip_low, clip_high, cap=cap)

  terms = {**method.terms, 'policy': Term(policy, aggregation.token_mean)}
  return method._replace(terms=terms, needs=('branched',))
