"""ADORA: groups in which longer thinking paid keep their weight or gain some."""

from __future__ import annotations

from functools import partial

from rljax import advantages
from rljax.groups import per_group
from rljax.methods.grpo import grpo
from rljax.methods.reading import extra
from rljax.methods.weighted import with_advantage_weights
from rljax.types import Method


def adora(
  *,
  max_length: int,
  lam: float = 0.1,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  eps: float = 1e-9,
) -> Method:
  """GRPO with groups damped whose longest right answer is not longer than the mean wrong one.

  The variant for vision, in which groups without a right answer keep their weight. Reads
  `batch.extras['correct']`, `[*N]`, above 0 where right.

  Args:
    max_length: in tokens; wrong answers from here on are not in the mean. The authors' code has
      4094.
    lam: weight of damped groups.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.
    eps: added to the group's deviation.

  Source: arXiv 2602.10019; follows the authors' ADORA_VL, experience_maker_vl.py.
  """
  weight = partial(advantages.adora_vision, max_length=max_length, lam=lam)
  return _weighted(weight, grpo(clip_low=clip_low, clip_high=clip_high, eps=eps))


def adora_language(
  *,
  max_length: int,
  lam: float = 0.1,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  eps: float = 1e-6,
) -> Method:
  """`adora` as the authors' code has it for text: groups without a right answer are damped too.

  Args and what it reads as in `adora`; the authors' code has 4054 for `max_length`.

  Source: arXiv 2602.10019; follows compute_grpo_outcome_advantage_ADORA.
  """
  weight = partial(advantages.adora_language, max_length=max_length, lam=lam)
  return _weighted(weight, grpo(clip_low=clip_low, clip_high=clip_high, eps=eps))


def adora_amplified(
  *,
  max_length: int,
  tau: float = 0.5,
  amplification: float = 2.0,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  eps: float = 1e-6,
) -> Method:
  """`adora` as the paper has it for text: hard groups in which longer thinking paid are amplified.

  Args:
    max_length: as in `adora`.
    tau: the largest success rate of a hard group.
    amplification: the weight of those groups; the others have 1.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.
    eps: added to the group's deviation.

  Source: arXiv 2602.10019, a reconstruction; see `advantages.adora_amplified`.
  """
  weight = partial(
    advantages.adora_amplified, max_length=max_length, tau=tau, amplification=amplification
  )
  return _weighted(weight, grpo(clip_low=clip_low, clip_high=clip_high, eps=eps))


def _weighted(weight, method):
  def weights(batch):
    correct = extra(batch, 'correct', 'which answers are right')
    return per_group(weight, batch)(batch.lengths, correct)

  return with_advantage_weights(weights, method)
