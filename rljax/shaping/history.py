"""HAPO's length reward: responses against the shortest right answer that was ever seen.

Not the HAPO of entropies (`methods.hapo`).
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats
from rljax.controllers import Controller


def hapo_length(
  correct: jax.Array,
  lengths: jax.Array,
  shortest: jax.Array,
  *,
  weight: float = 1.0,
  floor: float = -0.7,
) -> jax.Array:
  """Correctness, plus a cosine of the length against the shortest right answer before.

  With `f = cos(min(pi n / (2 shortest), pi))`, a right answer earns `weight max(f, floor)` more and
  a wrong one `weight min(f, 0)`: nothing below the known length, less beyond it.

  Args:
    correct: any shape, above 0 where the answer is right.
    lengths: the same shape, in tokens.
    shortest: the same shape, the shortest right answer so far; infinite where there was none.
    weight: of the length.
    floor: the least that a right answer earns for its length.
  Returns:
    The same shape; correctness alone where no right answer is known.

  Source: arXiv 2505.11225, from one secondary account of it.

  >>> correct, lengths = jnp.array([1.0, 1.0, 0.0, 1.0]), jnp.array([0, 8, 40, 40])
  >>> hapo_length(correct, lengths, jnp.array([8.0, 8.0, 8.0, jnp.inf])).round(3)
  Array([ 2.,  1., -1.,  1.], dtype=float32)
  """
  chex.assert_equal_shape([correct, lengths, shortest])
  shortest = stats.as_float(shortest)
  right = (correct > 0).astype(shortest.dtype)
  known = jnp.isfinite(shortest)
  against = jnp.maximum(jnp.where(known, shortest, 1), 1)
  f = jnp.cos(jnp.minimum(jnp.pi * stats.as_float(lengths) / (2 * against), jnp.pi))
  term = jnp.where(right > 0, jnp.maximum(f, floor), jnp.minimum(f, 0))
  return right + weight * jnp.where(known, term, 0)


def shortest_correct(prompts: int) -> Controller:
  """Remembers the shortest right answer of each prompt: state is `[prompts]`, infinite at first.

  The observation is (prompt, correct, lengths), each `[*N]`, `prompt` an id in [0, prompts); the
  value `[*N]` is what was known of each prompt before. Right answers without tokens are left out.
  An id outside of the range is never known and never kept.

  Args:
    prompts: number of ids.

  Source: arXiv 2505.11225.
  """

  def update(shortest, observation):
    prompt, correct, lengths = observation
    chex.assert_equal_shape([prompt, correct, lengths])
    # A negative index would count from the end.
    index = jnp.where(prompt < 0, prompts, prompt)
    known = shortest.at[index].get(mode='fill', fill_value=jnp.inf)
    counts = (correct > 0) & (lengths > 0)
    found = jnp.where(counts, stats.as_float(lengths), jnp.inf).astype(shortest.dtype)
    return shortest.at[index].min(found, mode='drop'), known

  return Controller(lambda: jnp.full((prompts,), jnp.inf), update)
