"""DAPO's two ways with overlong completions, each on GRPO alone."""

from __future__ import annotations

import jax.numpy as jnp

from rljax import shaping
from rljax.methods.combinators import with_keep, with_rewards
from rljax.methods.grpo import grpo
from rljax.methods.reading import truncated
from rljax.types import Method


def grpo_overlong(
  *,
  max_length: int,
  overlong_buffer: int,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  eps: float = 1e-6,
) -> Method:
  """GRPO with the soft overlong punishment: up to 1 less, over the last tokens before the limit.

  Args:
    max_length: longest completion, in tokens; 20480 in the paper.
    overlong_buffer: tokens before `max_length` over which the punishment grows; 4096 there.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.
    eps: added to the group's deviation.

  Source: arXiv 2503.14476, equation 13.
  """

  def rewards(batch):
    return shaping.soft_overlong(
      batch.rewards, batch.lengths, limit=max_length, buffer=overlong_buffer
    )

  return with_rewards(rewards, grpo(clip_low=clip_low, clip_high=clip_high, eps=eps))


def grpo_overlong_filtered(
  *, clip_low: float = 0.2, clip_high: float = 0.2, eps: float = 1e-6
) -> Method:
  """GRPO without a loss on truncated completions, whose rewards still enter their group.

  They leave the count of sequences too; with `shaping.mask_truncated` as mask it is the same.

  Args:
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.
    eps: added to the group's deviation.
  Raises:
    ValueError: while tracing, if `batch.truncated` is None.

  Source: arXiv 2503.14476; TRL's mask_truncated_completions, which goes on counting them among the
  sequences.
  """

  def finished(batch):
    return shaping.zero_truncated(jnp.ones_like(batch.rewards), truncated(batch))

  return with_keep(finished, grpo(clip_low=clip_low, clip_high=clip_high, eps=eps))
