"""The unlikeliness reward."""

from __future__ import annotations

from functools import partial

from rljax import shaping, stats
from rljax.groups import per_group
from rljax.methods.combinators import with_rewards
from rljax.methods.grpo import grpo
from rljax.methods.reading import sampled_logp
from rljax.types import Method


def unlikeliness(
  *,
  beta: float = 0.25,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  eps: float = 1e-6,
) -> Method:
  """GRPO on rewards that are worth less the likelier an answer is within its group.

  Likelihoods are of `old_logp`, else of the sampler's, as means over the tokens; rewards are at
  least 0. The authors add two updates a batch and a KL loss of 0.1 (`kl_to_reference`).

  Args:
    beta: what the likeliest answer loses, almost.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.
    eps: added to the group's deviation.

  Source: arXiv 2506.02355; follows the authors' ray_lean_trainer.py.
  """
  shaped = partial(shaping.unlikeliness, beta=beta)

  def rewards(batch):
    score = stats.mean(sampled_logp(batch), batch.mask, axis=-1)
    return per_group(shaped, batch)(batch.rewards, score)

  method = with_rewards(rewards, grpo(clip_low=clip_low, clip_high=clip_high, eps=eps))
  return method._replace(reads=('logp',))
