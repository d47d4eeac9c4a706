"""The ranking reward of R^3."""

from __future__ import annotations

from functools import partial

import jax.numpy as jnp

from rljax import shaping
from rljax.groups import per_group
from rljax.methods.combinators import with_rewards
from rljax.methods.grpo import grpo
from rljax.methods.reading import correct, old_entropy, truncated
from rljax.types import Method


def serr(
  *,
  share: float,
  max_reward: float,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  eps: float = 1e-6,
) -> Method:
  """GRPO that ranks the truncated answers of unsolved prompts by the structure of their entropy.

  Elsewhere rewards stay as they are. Replay and reflection are the loop's part.

  Args:
    share: of the tokens of an answer that make its peaks; no value was seen of it nor of the next.
    max_reward: of the best ranked; below 1, or it earns as much as a right answer.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.
    eps: added to the group's deviation.
  Raises:
    ValueError: while tracing, if `batch.truncated` is None.

  Source: SERR of R^3, arXiv 2601.19620, section 3.2.3.
  """

  def rank(peak, overall, chosen, where=None):
    del where  # nobody else was chosen
    return shaping.serr(peak, overall, chosen, max_reward=max_reward)

  structure = partial(shaping.entropy_structure, share=share)

  def rewards(batch):
    chosen = per_group(shaping.truncated_failures, batch)(correct(batch), truncated(batch))
    ranked = per_group(rank, batch)(*structure(old_entropy(batch), batch.mask), chosen)
    return jnp.where(chosen > 0, ranked, batch.rewards)

  method = with_rewards(rewards, grpo(clip_low=clip_low, clip_high=clip_high, eps=eps))
  return method._replace(reads=('entropy',))
