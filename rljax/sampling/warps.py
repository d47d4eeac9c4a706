"""Warps: functions `logits [..., V] -> logits [..., V]` that change the distribution drawn from.

A filtered word has logit -inf. Each warp acts on the renormalised result of the one before it, and
the order matters where two filters are on: Hugging Face applies temperature, top-k, top-p, min-p.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

Warp = Callable[[jax.Array], jax.Array]


def chain(*warps: Warp) -> Warp:
  """The warps applied from left to right."""

  def warp(logits):
    for each in warps:
      logits = each(logits)
    return logits

  return warp


def temperature(value: float) -> Warp:
  """Divides logits by `value`; raises ValueError unless positive (for zero there is `greedy`)."""
  if value <= 0:
    raise ValueError(f'temperature is {value}; it must be positive. Use greedy for temperature 0.')
  return lambda logits: logits / value


def greedy(logits: jax.Array) -> jax.Array:
  """All mass on the largest logit, the first of equals."""
  best = jnp.argmax(logits, axis=-1, keepdims=True)
  words = jax.lax.broadcasted_iota(best.dtype, logits.shape, logits.ndim - 1)
  return jnp.where(words == best, 0.0, -jnp.inf)


def top_k(k: int) -> Warp:
  """Keeps the k largest logits, ties at the cut by index; raises ValueError for k < 1."""
  if k < 1:
    raise ValueError(f'top_k is {k}; it must be at least 1.')
  return lambda logits: jnp.where(_rank(logits) < k, logits, -jnp.inf)


def top_p(p: float) -> Warp:
  """Keeps words until their mass reaches p, the crossing word included (nucleus, arXiv 1904.09751).

  A word stays if the mass of the words before it, in order of probability, is below p; with p = 1
  all do. Raises ValueError unless 0 < p <= 1.
  """
  if not 0 < p <= 1:
    raise ValueError(f'top_p is {p}; it must lie in (0, 1].')
  if p == 1:  # in float32 the sum reaches 1 before the last of the unlikely words
    return lambda logits: logits

  def warp(logits):
    probs = jax.nn.softmax(logits, axis=-1)
    order = jnp.argsort(-probs, axis=-1, stable=True)
    ordered = jnp.take_along_axis(probs, order, axis=-1)
    before = jnp.cumsum(ordered, axis=-1) - ordered
    kept = jnp.take_along_axis(before < p, _rank(logits), axis=-1)
    return jnp.where(kept, logits, -jnp.inf)

  return warp


def min_p(p: float) -> Warp:
  """Keeps words with at least p times the largest probability; ValueError unless 0 <= p <= 1."""
  if not 0 <= p <= 1:
    raise ValueError(f'min_p is {p}; it must lie in [0, 1].')

  def warp(logits):
    probs = jax.nn.softmax(logits, axis=-1)
    return jnp.where(probs >= p * probs.max(-1, keepdims=True), logits, -jnp.inf)

  return warp


def _rank(logits):
  """0 for the largest logit, 1 for the next, ties in order of index."""
  order = jnp.argsort(-logits, axis=-1, stable=True)
  return jnp.argsort(order, axis=-1, stable=True)
