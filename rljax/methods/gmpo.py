"""GMPO."""

from __future__ import annotations

import jax.numpy as jnp

from rljax import advantages, aggregation, ratios
from rljax.groups import per_group
from rljax.methods.combinators import stateless
from rljax.methods.reading import trained
from rljax.types import Method, Term


def gmpo(*, clip_low: float = 0.4, clip_high: float = 0.4) -> Method:
  """Geometric-mean policy optimisation: the geometric mean of token ratios clipped one by one.

  Args:
    clip_low: bound of a token's log-ratio below 0, where the advantage is negative.
    clip_high: bound above 0, where it is positive.

  Source: arXiv 2507.20673; bounds of the authors' train_zero_math_gmpo.py.
  """

  def prepare(batch):
    return batch.replace(advantages=per_group(advantages.grpo, batch)(batch.rewards)[..., None])

  def policy(scores, batch):
    ratio = ratios.geometric(
      scores.logp, batch.old_logp, batch.mask, batch.advantages, low=clip_low, high=clip_high
    )
    return jnp.broadcast_to(-batch.advantages * ratio, scores.logp.shape)

  def cut(scores, batch):
    d = ratios.log_ratio(trained(scores.logp, batch), trained(batch.old_logp, batch))
    a = batch.advantages
    return (((a > 0) & (d > clip_high)) | ((a < 0) & (d < -clip_low))).astype(d.dtype)

  return stateless(
    prepare,
    policy=Term(policy, aggregation.sequence_mean),
    clip_fraction=Term(cut, aggregation.sequence_mean, 0.0),
  )
