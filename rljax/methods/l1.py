"""L1: completions of the length that the prompt asks for."""

from __future__ import annotations

from rljax import shaping
from rljax.methods.combinators import with_rewards
from rljax.methods.grpo import grpo
from rljax.methods.reading import correct, extra
from rljax.types import Method


def l1_exact(
  *,
  alpha: float = 0.0003,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  eps: float = 1e-6,
) -> Method:
  """GRPO on correctness less a cost of every token that an answer misses its target by.

  Reads `extras['targets']`, `[*N]`: the length in tokens that each completion's prompt asks for,
  drawn anew for every prompt.

  Args:
    alpha: cost of a token.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.
    eps: added to the group's deviation.

  Source: LCPO-Exact of arXiv 2503.04697; `alpha` of the authors' script.
  """

  def rewards(batch):
    return shaping.lcpo_exact(correct(batch), batch.lengths, _targets(batch), alpha=alpha)

  return _on(rewards, clip_low, clip_high, eps)


def l1_max(
  *,
  alpha: float = 0.0003,
  delta: float = 0.5,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  eps: float = 1e-6,
) -> Method:
  """GRPO on correctness times how far an answer stays below its target.

  Reads `extras['targets']`, `[*N]`, as `l1_exact` does, whose model this one starts from.

  Args:
    alpha: gain of a token that is left.
    delta: reward of a right answer of exactly the target.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.
    eps: added to the group's deviation.

  Source: LCPO-Max of arXiv 2503.04697, whose text is followed; see `shaping.lcpo_max` for the code.
  """

  def rewards(batch):
    return shaping.lcpo_max(
      correct(batch), batch.lengths, _targets(batch), alpha=alpha, delta=delta
    )

  return _on(rewards, clip_low, clip_high, eps)


def _on(rewards, clip_low, clip_high, eps):
  method = with_rewards(rewards, grpo(clip_low=clip_low, clip_high=clip_high, eps=eps))
  return method._replace(needs=('targets',))


def _targets(batch):
  return extra(batch, 'targets', 'the length in tokens that each prompt asks for')
