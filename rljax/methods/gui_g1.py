"""GUI-G1."""

from __future__ import annotations

from rljax.methods.grpo import dr_grpo
from rljax.methods.reading import extra
from rljax.methods.weighted import with_policy_weights
from rljax.types import Method


def gui_g1(*, length: int = 64, clip_low: float = 0.2, clip_high: float = 0.2) -> Method:
  """Dr. GRPO with the loss of each prompt multiplied by its difficulty.

  Reads `batch.extras['difficulty']`, `[*N]`, of each sequence's prompt. The authors take it from a
  column of their data, which is not public, so where it comes from is the caller's to decide.

  Args:
    length: what the token sums are divided by.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.

  Source: arXiv 2505.15810; follows the authors' grpo_trainer.py.
  """

  def weights(batch):
    return extra(batch, 'difficulty', 'the weight of each prompt')

  method = dr_grpo(max_length=length, clip_low=clip_low, clip_high=clip_high)
  return with_policy_weights(weights, method)._replace(needs=('difficulty',))
