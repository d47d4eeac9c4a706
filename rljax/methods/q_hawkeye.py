"""Q-Hawkeye's uncertainty weight."""

from __future__ import annotations

from functools import partial

from rljax import advantages
from rljax.groups import per_group
from rljax.methods.grpo import grpo
from rljax.methods.reading import extra
from rljax.methods.weighted import with_advantage_weights
from rljax.types import Method


def q_hawkeye(
  *,
  alpha: float = 0.2,
  low: float = 1.0,
  high: float = 5.0,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  eps: float = 1e-4,
) -> Method:
  """GRPO that trusts a group less whose predicted scores scatter.

  Reads `batch.extras['predicted']`, `[*N]`: the score that each completion gave, NaN where none
  could be read.

  Args:
    alpha: strength.
    low: the least score.
    high: the largest score.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.
    eps: added to the group's deviation.

  Source: arXiv 2601.22920; follows the authors' grpo_trainer.py. Its perception loss is not here.
  """
  weight = partial(advantages.uncertainty_weight, alpha=alpha, low=low, high=high)

  def weights(batch):
    return per_group(weight, batch)(extra(batch, 'predicted', 'the score that each answer gave'))

  method = with_advantage_weights(weights, grpo(clip_low=clip_low, clip_high=clip_high, eps=eps))
  return method._replace(needs=('predicted',))
