"""Weights of sequences or groups on top of any method.

Weights are computed once per rollout batch, from the batch as it comes in, before the method shapes
its rewards. `rljax.advantages` has group weights to choose from.
"""

from __future__ import annotations

from collections.abc import Callable

import jax

from rljax.types import Batch, Method

_NAME = 'policy_weights'


def with_advantage_weights(weights: Callable[[Batch], jax.Array], method: Method) -> Method:
  """The method with its advantages times `weights(batch) -> [*N]`."""

  def prepare(state, batch):
    state, prepared = method.prepare(state, batch)
    return state, prepared.replace(advantages=prepared.advantages * weights(batch)[..., None])

  return method._replace(prepare=prepare)


def with_policy_weights(weights: Callable[[Batch], jax.Array], method: Method) -> Method:
  """The method with the loss of its term `policy` times `weights(batch) -> [*N]`.

  For weights of at least 0 and a loss that is linear in them, the same as `with_advantage_weights`.
  A weight below 0 turns the loss around as a whole, with what the clip left of it.

  Raises:
    ValueError: the method has no term `policy`; in `prepare`, if it has such weights already.
  """
  if 'policy' not in method.terms:
    raise ValueError(
      f"with_policy_weights needs a term 'policy'; the method has {sorted(method.terms)}. "
      'with_advantage_weights needs none.'
    )
  policy = method.terms['policy']

  def prepare(state, batch):
    found = weights(batch)
    state, batch = method.prepare(state, batch)
    if _NAME in batch.extras:
      raise ValueError(
        'The batch has policy weights already. Give one with_policy_weights the product of the '
        'weights instead of nesting two.'
      )
    return state, batch.replace(extras={**batch.extras, _NAME: found})

  def value(scores, batch):
    return policy.value(scores, batch) * batch.extras[_NAME][..., None]

  return method._replace(
    prepare=prepare, terms={**method.terms, 'policy': policy._replace(value=value)}
  )
