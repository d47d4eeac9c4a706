"""Several rewards at once: `batch.extras['components']`, `[*N, K]`.

`batch.rewards` is read by none of these; a method with fixed weights needs no more than
`with_rewards(lambda batch: batch.extras['components'] @ weights, method)`.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp

from rljax import advantages, aggregation, reward_weights, stats
from rljax.groups import per_group
from rljax.methods.combinators import inner_draws, stateless
from rljax.methods.grpo import grpo
from rljax.methods.reading import extra, kept
from rljax.methods.terms import policy_terms, token_ratio
from rljax.types import Batch, Method


def mrn(
  *,
  weights: Sequence[float] | None = None,
  eps: float = 1e-4,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
) -> Method:
  """Multi-reward normalisation: GRPO with every reward standardised before they are added.

  Reads `batch.extras['components']`, `[*N, K]`, NaN where a reward does not apply.

  Args:
    weights: K numbers; None: all 1.
    eps: added to the deviations.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.

  Source: ReFine-RFT, arXiv 2601.06993; follows the authors' mrpo_trainer.py.
  """

  def prepare(batch):
    return batch.replace(advantages=_normalized(batch, weights, eps)[..., None])

  terms = policy_terms(token_ratio, clip_low, clip_high, aggregation.sequence_mean)
  return stateless(prepare, **terms)._replace(needs=('components',))


def gdpo(
  *,
  weights: Sequence[float] | None = None,
  eps: float = 1e-4,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
) -> Method:
  """Group reward-decoupled normalisation: `mrn`, standardised once more over the batch.

  Reads `batch.extras['components']`, `[*N, K]`, NaN where a reward does not apply. The batch's
  statistics are those of its kept sequences that have tokens.

  Args:
    weights: K numbers; None: all 1.
    eps: added to the deviations.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.

  Source: arXiv 2601.05242; as TRL's normalize_then_sum (see `advantages.gdpo`).
  """

  def prepare(batch):
    counts = kept(batch) * (batch.lengths > 0)
    estimate = advantages.standardize(_normalized(batch, weights, eps), counts, eps=eps)
    return batch.replace(advantages=estimate[..., None])

  terms = policy_terms(token_ratio, clip_low, clip_high, aggregation.sequence_mean)
  return stateless(prepare, **terms)._replace(needs=('components',))


def dw_grpo(
  *,
  rewards: int,
  window: int,
  temperature: float,
  sign: float = -1.0,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
) -> Method:
  """Dynamic weighting: GRPO on a weighted sum in which rewards that lag count more.

  Reads `batch.extras['components']`, `[*N, K]`. The state holds the mean of each reward in the last
  steps, that of this batch included.

  Args:
    rewards: K.
    window: in steps; the source's is not known.
    temperature: of the softmax over rewards; the source's is not known.
    sign: 1 for the opposite: more for rewards that improve.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.

  Source: arXiv 2601.11144, a reconstruction as in `reward_weights.trend_weights`.
  """
  controller = reward_weights.dw_grpo(rewards, window, temperature=temperature, sign=sign)
  method = grpo(clip_low=clip_low, clip_high=clip_high)

  def init():
    return {'weights': controller.init(), 'inner': method.init()}

  def prepare(state, batch):
    found = _components(batch)
    means = stats.mean(found.reshape(-1, rewards), axis=0)
    past, weights = controller.update(state['weights'], means)
    total = found @ weights
    inner, batch = method.prepare(state['inner'], batch.replace(rewards=total))
    return {'weights': past, 'inner': inner}, batch

  return method._replace(init=init, prepare=prepare, needs=('components',))


def with_hypervolume(
  method: Method,
  *,
  reference: Sequence[float],
  capacity: int,
  weights: Sequence[float] | None = None,
  maximize: Sequence[bool] | None = None,
) -> Method:
  """The method on rewards that count more while checkpoints push the Pareto front out.

  Rewards are the weighted sum of `batch.extras['components']`, `[*N, K]`, times
  `reward_weights.hypervolume_multiplier` of `batch.constants['validation']`, `[M]`: what the latest
  checkpoint reaches on validation data, NaN in a step without a new one. The front is part of the
  state. A method that divides by the deviation of rewards cancels the factor; `dr_grpo`, `rloo` and
  `reinforce` do not.

  Args:
    method: what learns from these rewards.
    reference: M numbers, what the initial model reaches.
    capacity: most points of the front.
    weights: K numbers; None: 1 / K each.
    maximize: M flags, False for what is minimised; None: all are maximised.

  Source: arXiv 2509.11452; follows the authors' ray_trainer_vanilla.py.
  """
  controller = reward_weights.hypervolume_multiplier(reference, capacity, maximize=maximize)

  def init():
    return {'front': controller.init(), 'inner': method.init()}

  def prepare(state, batch):
    if 'validation' not in batch.constants:
      raise ValueError(
        "This method needs batch.constants['validation'], what the latest checkpoint reaches on "
        f'validation data; the batch has {sorted(batch.constants)}.'
      )
    found = _components(batch)
    share = [1 / found.shape[-1]] * found.shape[-1] if weights is None else weights
    front, factor = controller.update(state['front'], batch.constants['validation'])
    total = factor * (found @ jnp.asarray(share, found.dtype))
    inner, batch = method.prepare(state['inner'], batch.replace(rewards=total))
    return {'front': front, 'inner': inner}, batch

  def measure(state, scores, batch):
    inner, batch = method.measure(state['inner'], scores, batch)
    return {**state, 'inner': inner}, batch

  return method._replace(
    init=init,
    prepare=prepare,
    measure=None if method.measure is None else measure,
    needs=tuple(dict.fromkeys((*method.needs, 'components', 'validation'))),
    draws=inner_draws(method),
  )


def _components(batch: Batch):
  return stats.as_float(extra(batch, 'components', 'the rewards of each completion, [*N, K]'))


def _normalized(batch, weights, eps):
  found = _components(batch)
  share = [1.0] * found.shape[-1] if weights is None else weights

  def combine(rewards, where=None):
    return advantages.mrn(rewards, share, where, eps=eps)

  return per_group(combine, batch)(found)
