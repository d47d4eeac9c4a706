"""VERL: advantages raised by the effective rank of hidden states."""

from __future__ import annotations

from functools import partial

import jax.numpy as jnp

from rljax import advantages
from rljax.methods.combinators import inner_draws
from rljax.methods.grpo import grpo
from rljax.methods.reading import extra
from rljax.types import Method


def verl(
  *,
  gain: float = 2.0,
  kappa: float = 2.0,
  rate: float = 0.3,
  scale: float = 1.0,
  stride: int = 40,
  window: int = 512,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
) -> Method:
  """GRPO `with_rank_bonus`.

  Args:
    gain: how sharply acceleration decides between rank and velocity.
    kappa: an advantage is raised by at most its size over this.
    rate: weight of the newest batch in the running means.
    scale: of the bonus before it is bounded.
    stride: tokens between two ranks.
    window: tokens at the end of a completion of which velocity and acceleration are taken.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.

  Source: arXiv 2509.23808; see `with_rank_bonus`.
  """
  method = grpo(clip_low=clip_low, clip_high=clip_high)
  return with_rank_bonus(
    method, gain=gain, kappa=kappa, rate=rate, scale=scale, stride=stride, window=window
  )


def with_rank_bonus(
  method: Method,
  *,
  gain: float = 2.0,
  kappa: float = 2.0,
  rate: float = 0.3,
  scale: float = 1.0,
  stride: int = 40,
  window: int = 512,
) -> Method:
  """The method with `A + min(max(bonus, 0), |A| / kappa)` after its advantages.

  Reads `batch.extras['old_rank_dynamics']`, `[*N, 3]`: `advantages.rank_dynamics` of each
  completion's activations before the head, a feature of the policy before its update.

  The state are running means of them over batches, with which a completion is compared. They start
  at 0 and lag by a step: the first batch gets no bonus, the second is compared with 0 (the bonus
  saturates), the third with `rate` times the mean of the first. Sequences with `keep` 0 are not in
  the means.

  Args:
    method: any method.
    gain: how sharply acceleration decides between rank and velocity.
    kappa: an advantage is raised by at most its size over this.
    rate: weight of the newest batch in the running means.
    scale: of the bonus before it is bounded.
    stride: tokens between two ranks; up to twice as many tokens have no velocity.
    window: tokens at the end of a completion of which velocity and acceleration are taken.

  Source: arXiv 2509.23808; follows the authors' reward_manager_versions.py and ray_trainer.py,
  which put the bonus on the last token where this puts it on all; their script as shipped leaves
  it out.
  """

  def init():
    return {'inner': method.init(), 'ranks': advantages.init_rank_means()}

  def prepare(state, batch):
    dynamics = extra(batch, 'old_rank_dynamics', 'advantages.rank_dynamics of each completion')
    ranks = state['ranks']
    bonus = advantages.rank_bonus(dynamics, ranks.means, gain=gain, scale=scale)
    bonus = jnp.where(ranks.seen > 0, bonus, 0)[..., None]
    ranks = advantages.update_rank_means(ranks, dynamics, batch.keep, rate=rate)
    inner, batch = method.prepare(state['inner'], batch)
    raised = advantages.bounded_bonus(
      batch.advantages, jnp.broadcast_to(bonus, batch.advantages.shape), limit=1 / kappa
    )
    return {'inner': inner, 'ranks': ranks}, batch.replace(advantages=raised)

  return method._replace(
    init=init,
    prepare=prepare,
    draws=inner_draws(method),
    features={
      **method.features,
      'rank_dynamics': partial(advantages.rank_dynamics, stride=stride, window=window),
    },
    reads=tuple(dict.fromkeys((*method.reads, 'rank_dynamics'))),
  )
