"""ReRe."""

from __future__ import annotations

from rljax import shaping
from rljax.groups import per_group
from rljax.methods.combinators import with_rewards
from rljax.methods.grpo import grpo
from rljax.methods.reading import correct
from rljax.types import Method


def rere(*, clip_low: float = 0.2, clip_high: float = 0.2, eps: float = 1e-4) -> Method:
  """GRPO on hits, and on misses by the rank of their beam where another beam is a hit.

  The completions of a prompt stand in the order of their beams, likeliest first. The authors draw
  16 of them and add a KL loss of 1e-3 (`kl_to_reference`).

  Args:
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.
    eps: added to the group's deviation.

  Source: rere.py of the authors (github.com/sober-clever/ReRe).
  """
  return with_rewards(
    lambda batch: per_group(shaping.rere, batch)(correct(batch)),
    grpo(clip_low=clip_low, clip_high=clip_high, eps=eps),
  )
