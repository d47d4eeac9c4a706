"""A bonus on the policy's entropy that adapts itself."""

from __future__ import annotations

import jax

from rljax import aggregation, controllers, stats
from rljax.methods.combinators import inner_draws, plus
from rljax.methods.reading import tokens
from rljax.methods.terms import entropy_bonus
from rljax.types import Batch, Method


def with_adaptive_entropy(
  method: Method,
  *,
  target: float,
  step: float = 0.005,
  low: float = 0.0,
  high: float = 1.0,
  initial: float = 0.0,
) -> Method:
  """The method with an entropy bonus that comes up as the entropy falls to `target`.

  The policy's mean entropy before each update, over the batch's trained tokens, moves the
  coefficient (`controllers.adaptive_entropy`), and the bonus is a token mean. The batch needs
  `extras['old_entropy']`, which is in `reads`.

  Args:
    method: any method.
    target: nats a token.
    step: change of the coefficient per batch.
    low: its least value.
    high: its largest value.
    initial: its value before the first batch.

  Raises:
    ValueError: `initial` is not within `[low, high]`; while tracing, if `old_entropy` is missing.

  Source: arXiv 2505.22312. TRL knows the mean only after the step and is one step behind.
  """
  controller = controllers.adaptive_entropy(target, step=step, low=low, high=high, initial=initial)

  def init():
    return {'inner': method.init(), 'coef': controller.init()}

  def prepare(state, batch):
    inner, batch = method.prepare(state['inner'], batch)
    outer, coef = controller.update(state['coef'], _mean_entropy(batch))
    constants = {**batch.constants, 'entropy_coef': coef}
    return {'inner': inner, 'coef': outer}, batch.replace(constants=constants)

  def measure(state, scores, batch):
    inner, batch = method.measure(state['inner'], scores, batch)
    return {**state, 'inner': inner}, batch

  bonus = entropy_bonus(aggregation.token_mean, 1.0)
  bonus = bonus._replace(coef=lambda batch: batch.constants['entropy_coef'])
  return plus(method, entropy=bonus)._replace(
    init=init,
    prepare=prepare,
    draws=inner_draws(method),
    measure=None if method.measure is None else measure,
    reads=(*method.reads, *(() if 'entropy' in method.reads else ('entropy',))),
  )


def _mean_entropy(batch: Batch) -> jax.Array:
  if 'old_entropy' not in batch.extras:
    raise ValueError(
      "An adaptive entropy bonus needs batch.extras['old_entropy'], the entropy of the policy at "
      'each token before its update, in nats.'
    )
  return stats.mean(batch.extras['old_entropy'], tokens(batch))
