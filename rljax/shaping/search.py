"""Rewards of answers that were searched for on the web: Fathom-DeepResearch. Any shape."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def format_and_answer(
  formatted: jax.Array, correct: jax.Array, *, format_weight: float = 0.1
) -> jax.Array:
  """`format_weight * formatted + (1 - format_weight) * correct`.

  A wrong answer in the right format has a reward above 0: give `correct` to `selection.rapo_prune`.

  Source: arXiv 2509.24107, equation 4.

  >>> format_and_answer(jnp.array([1.0, 1.0, 0.0]), jnp.array([1.0, 0.0, 0.0]))
  Array([1. , 0.1, 0. ], dtype=float32)
  """
  chex.assert_equal_shape([formatted, correct])
  formatted, correct = stats.as_float(formatted), stats.as_float(correct)
  return format_weight * formatted + (1 - format_weight) * correct


def steerable_search(
  correct: jax.Array,
  formatted: jax.Array,
  unique_searches: jax.Array,
  redundant_searches: jax.Array,
  explorations: jax.Array,
  verifications: jax.Array,
  redundant_queries: jax.Array,
  *,
  search_weight: float = 0.2,
  query_weight: float = 0.2,
  max_searches: float = 8.0,
  max_queries: float = 16.0,
  format_weight: float = 0.1,
  least: float = 0.5,
) -> jax.Array:
  """Right answers are worth less for redundant calls, wrong ones something for a wide search.

  Right: `max(1 - rho, least)` with rho the redundant share of all calls, 0 without a call. Wrong:
  `search_weight min(1, dS / max_searches) + query_weight min(1, dQ / max_queries)`, with dS the
  unique less the redundant searches and dQ the explorations and verifications less the redundant
  queries; below 0 for a search that mostly repeats itself. Both with `format_weight * formatted`.

  Every tool call has one of five labels, which a judge gives.

  Args:
    correct: above 0 where the answer is right.
    formatted: 1 where the format is kept.
    unique_searches: number of searches that brought something new.
    redundant_searches: number of those that did not.
    explorations: number of page queries for something new.
    verifications: number of page queries that check a claim, up to the budget for each.
    redundant_queries: number of the other page queries.
    search_weight: most that a wide search without the answer is worth.
    query_weight: most that many page queries without the answer are worth.
    max_searches: searches that are worth it.
    max_queries: page queries that are worth it.
    format_weight: of the format.
    least: least worth of a right answer.

  Source: arXiv 2509.24107, equation 8.

  >>> right, counts = jnp.array([1.0, 0.0]), [jnp.full(2, n) for n in (3.0, 1.0, 2.0, 1.0, 1.0)]
  >>> [round(float(x), 3) for x in steerable_search(right, jnp.ones(2), *counts)]
  [0.85, 0.175]
  """
  columns = (unique_searches, redundant_searches, explorations, verifications, redundant_queries)
  chex.assert_equal_shape([correct, formatted, *columns])
  unique, repeated, explored, verified, idle = map(stats.as_float, columns)
  calls = unique + repeated + explored + verified + idle
  share = (repeated + idle) / jnp.maximum(calls, 1)
  searches = jnp.minimum(1, (unique - repeated) / max_searches)
  queries = jnp.minimum(1, (explored + verified - idle) / max_queries)
  wide = search_weight * searches + query_weight * queries
  worth = jnp.where(correct > 0, jnp.maximum(1 - share, least), wide)
  return format_weight * stats.as_float(formatted) + worth
