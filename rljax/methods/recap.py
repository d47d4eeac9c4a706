"""RECAP."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from rljax import balance, stats
from rljax.methods.combinators import together
from rljax.methods.grpo import grpo
from rljax.types import Batch, Method


def missed_reward(batch: Batch) -> jax.Array:
  """One less the mean reward: the loss of an objective whose rewards are in [0, 1]."""
  return 1 - stats.mean(batch.rewards)


def recap(
  *, window: int, temperature: float = 5.0, clip_low: float = 0.2, clip_high: float = 0.2
) -> Method:
  """GRPO on the rollouts of a task and of a replayed one, weighted as by `together_by_recap`.

  Batches and scores are dicts of `rollouts` and `replayed`.

  Args:
    window: steps in each of the two windows that are compared.
    temperature: of the softmax over the two.
    clip_low: clip range of both ratios below 1.
    clip_high: clip range above 1.

  Source: arXiv 2510.21978, a reconstruction as there.
  """
  one = grpo(clip_low=clip_low, clip_high=clip_high)
  both = together_by_recap(window=window, temperature=temperature, rollouts=one, replayed=one)
  return both._replace(needs=('replayed',))


def together_by_recap(
  *,
  window: int,
  temperature: float = 5.0,
  loss: Callable[[Batch], jax.Array] = missed_reward,
  **methods: Method,
) -> Method:
  """Several objectives at once, each on its own batch; those that worsen or swing count more.

  `together(**methods)` with the terms of every method weighted by its share, `lambda_k / K` of
  `balance.recap`, which is updated once per rollout batch. For a reasoning task with replayed tasks
  of other abilities. The state holds the losses of the last steps under 'recap' and that of each
  method by its name.

  Args:
    window: steps in each of the two windows that are compared; until both are full every objective
      counts the same. The source's is not known.
    temperature: of the softmax over objectives.
    loss: `batch -> []`, what is watched of each objective; not negative.
    **methods: the objectives' methods.

  Raises:
    ValueError: no method is given, or one is called 'recap'.

  Source: arXiv 2510.21978, equation 1, as in `balance.recap_weights`.
  """
  if not methods or 'recap' in methods:
    raise ValueError(f"Give methods by names other than 'recap', not {sorted(methods)}.")
  controller = balance.recap(len(methods), window, temperature=temperature)
  inner = together(**methods)

  def init():
    return {'recap': controller.init(), **inner.init()}

  def prepare(state, batches):
    losses = jnp.stack([loss(batches[name]) for name in methods])
    seen, weights = controller.update(state['recap'], losses)
    rest, batches = inner.prepare({name: state[name] for name in methods}, batches)
    batches = {
      name: batch.replace(constants={**batch.constants, 'share': weights[k] / len(methods)})
      for k, (name, batch) in enumerate((name, batches[name]) for name in methods)
    }
    return {'recap': seen, **rest}, batches

  def measure(state, scores, batches):
    rest, batches = inner.measure({name: state[name] for name in methods}, scores, batches)
    return {'recap': state['recap'], **rest}, batches

  def weighed(name, coef):
    def share(batches):
      own = coef(batches) if callable(coef) else coef
      return own * batches[name].constants['share']

    return share if callable(coef) or coef else coef  # a metric stays a metric

  terms = {
    f'{name}_{key}': inner.terms[f'{name}_{key}']._replace(
      coef=weighed(name, inner.terms[f'{name}_{key}'].coef)
    )
    for name, method in methods.items()
    for key in method.terms
  }
  return inner._replace(
    init=init,
    prepare=prepare,
    terms=terms,
    measure=None if inner.measure is None else measure,
  )
