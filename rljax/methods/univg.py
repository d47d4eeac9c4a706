"""UniVG-R1's difficulty weight."""

from __future__ import annotations

from collections.abc import Callable

import jax

from rljax import advantages
from rljax.groups import per_group
from rljax.methods.grpo import grpo
from rljax.methods.reading import extra
from rljax.methods.weighted import with_policy_weights
from rljax.types import Method


def univg(
  *,
  weight: Callable[..., jax.Array] = advantages.exp_difficulty,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  eps: float = 1e-6,
) -> Method:
  """GRPO whose policy loss, but no other term, is multiplied by a group's difficulty.

  Reads `batch.extras['iou']`, `[*N]`: the overlap of each predicted box in [0, 1].

  Args:
    weight: `(iou [..., G], where) -> [..., G]`: `advantages.exp_difficulty`, `power_difficulty` or
      `log_difficulty`.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.
    eps: added to the group's deviation; the authors' trainer has 1e-4.

  Source: UniVG-R1, the authors' grpo_trainer.py.
  """

  def weights(batch):
    return per_group(weight, batch)(extra(batch, 'iou', 'the overlap of each predicted box'))

  method = with_policy_weights(weights, grpo(clip_low=clip_low, clip_high=clip_high, eps=eps))
  return method._replace(needs=('iou',))
