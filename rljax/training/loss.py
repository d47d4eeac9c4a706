"""The loss of a method: weights once per optimizer step, then a plain sum over rows.

Weights carry every normalisation and are computed on the whole step, so the loss, each metric and
each gradient add up over microbatches and devices to the same value however the rows are cut.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.types import Batch, Method, Scores


def weigh(method: Method, batch: Batch) -> dict[str, jax.Array]:
  """The weights of each of the method's terms on the whole batch of an optimizer step."""
  return {name: term.weights(batch) for name, term in method.terms.items()}


def total(
  method: Method, scores: Scores, batch: Batch, weights: dict[str, jax.Array]
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Loss `[]` of some rows and the terms' values by name, before their coefficients.

  Args:
    method: the method.
    scores: what the policy being trained says of the rows.
    batch: the rows, prepared.
    weights: the rows' part of `weigh(method, whole batch)`.

  Raises:
    ValueError: if a term's value and its weights differ in shape.
  """
  loss = jnp.zeros((), jnp.float32)
  values = {}
  for name, term in method.terms.items():
    value = term.value(scores, batch)
    if value.shape != weights[name].shape:
      raise ValueError(
        f'Term {name!r} has values of shape {value.shape} but weights of shape '
        f'{weights[name].shape}; choose the aggregation that fits the value.'
      )
    # A value may be anything where its weight is 0; 0 * inf must not reach the sum or the gradient.
    value = jnp.where(weights[name] != 0, value, 0.0)
    values[name] = jnp.sum(weights[name] * value)
    coef = term.coef(batch) if callable(term.coef) else term.coef
    loss += coef * values[name]
  return loss, values
