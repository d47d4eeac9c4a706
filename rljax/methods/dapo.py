"""DAPO."""

from __future__ import annotations

from rljax import advantages, aggregation, selection, shaping
from rljax.groups import per_group
from rljax.methods.combinators import stateless
from rljax.methods.reading import correct, kept
from rljax.methods.terms import policy_terms, token_ratio
from rljax.types import Method


def dapo(
  *,
  max_length: int,
  overlong_buffer: int,
  clip_low: float = 0.2,
  clip_high: float = 0.28,
) -> Method:
  """Decoupled clip and dynamic sampling: clip-higher, token mean, soft overlong punishment.

  Groups whose answers are all right or all wrong are left out of the loss and of its count; drawing
  new prompts in their place is the loop's part (`rl.refill`). The selection reads correctness
  (`extras['correct']`, else the rewards before the length term), because the length term would make
  every group look mixed.

  Args:
    max_length: longest completion, in tokens.
    overlong_buffer: tokens before `max_length` over which the punishment grows to -1.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.

  Source: arXiv 2503.14476, equations 8 to 13.
  """

  def prepare(batch):
    keep = kept(batch) * per_group(selection.mixed, batch)(correct(batch))
    rewards = shaping.soft_overlong(
      batch.rewards, batch.lengths, limit=max_length, buffer=overlong_buffer
    )
    estimate = per_group(advantages.grpo, batch)(rewards)
    return batch.replace(
      rewards=rewards,
      keep=keep,
      advantages=estimate[..., None],
    )

  return stateless(
    prepare, **policy_terms(token_ratio, clip_low, clip_high, aggregation.token_mean)
  )
