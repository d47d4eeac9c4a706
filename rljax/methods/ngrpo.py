"""NGRPO."""

from __future__ import annotations

from functools import partial

from rljax import advantages, aggregation
from rljax.groups import per_group
from rljax.methods.combinators import stateless
from rljax.methods.terms import policy_terms, token_ratio
from rljax.types import Method


def ngrpo(
  *,
  max_reward: float = 1.0,
  n_virtual: int = 1,
  clip_low: float = 0.16,
  clip_high: float = 0.24,
  eps: float = 1e-6,
  ddof: int = 1,
) -> Method:
  """Negative-enhanced GRPO: an imagined perfect sample in every group, a narrower clip below.

  Args:
    max_reward: reward of the imagined sample.
    n_virtual: how many there are in a group.
    clip_low: clip range of the ratio below 1; it binds for negative advantages.
    clip_high: clip range above 1; it binds for positive ones.
    eps: added to the group's deviation.
    ddof: 1 for the unbiased deviation.

  Source: NGRPO; the clip ranges and the mean over tokens are those of the authors' code.
  """
  estimate = partial(
    advantages.ngrpo, max_reward=max_reward, n_virtual=n_virtual, eps=eps, ddof=ddof
  )

  def prepare(batch):
    return batch.replace(advantages=per_group(estimate, batch)(batch.rewards)[..., None])

  return stateless(
    prepare, **policy_terms(token_ratio, clip_low, clip_high, aggregation.token_mean)
  )
