"""R^3: rewards of answers that never ended, by how their entropy is spread."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def truncated_failures(
  correct: jax.Array, truncated: jax.Array, where: jax.Array | None = None
) -> jax.Array:
  """1 on truncated members of groups without a right answer, else 0; what `serr` ranks.

  Args:
    correct: `[..., G]`, above 0 where right.
    truncated: `[..., G]`, above 0 where generation stopped without an end token.
    where: `[..., G]`, 1 on real members.

  Source: arXiv 2601.19620.

  >>> truncated_failures(jnp.array([[0.0, 0.0], [0.0, 1.0]]), jnp.ones((2, 2)))
  Array([[1., 1.],
         [0., 0.]], dtype=float32)
  """
  chex.assert_shape(correct, (..., None, None))
  chex.assert_equal_shape([correct, truncated])
  real = stats.is_real(correct, where)
  solved = jnp.any(real & (correct > 0), axis=-1, keepdims=True)
  return (real & ~solved & (truncated > 0)).astype(stats.as_float(correct).dtype)


def entropy_structure(
  entropy: jax.Array, mask: jax.Array, *, share: float
) -> tuple[jax.Array, jax.Array]:
  """Mean entropy of the `share` most uncertain tokens, and of all: `[...]` each.

  Args:
    entropy: `[..., T]`, in nats.
    mask: `[..., T]`, 1 on trained tokens, of which there are n.
    share: the paper's p; `floor(share n)` tokens are taken, one at least. No value was seen.
  Returns:
    `[...]` each; 0 where there is no token.

  Source: arXiv 2601.19620, section 3.2.3.

  >>> entropy_structure(jnp.array([[4.0, 0.0, 2.0, 0.0]]), jnp.ones((1, 4)), share=0.5)
  (Array([3.], dtype=float32), Array([1.5], dtype=float32))
  """
  entropy, real = stats.as_float(entropy), stats.is_real(entropy, mask)
  n = jnp.sum(real, axis=-1, keepdims=True).astype(entropy.dtype)
  taken = jnp.maximum(jnp.floor(stats.snap(share * n)), 1)
  peak = stats.mean(entropy, real & (stats.rank(entropy, real) < taken), axis=-1)
  return peak, stats.mean(entropy, real, axis=-1)


def serr(
  peak: jax.Array, overall: jax.Array, where: jax.Array | None = None, *, max_reward: float
) -> jax.Array:
  """Rewards from `max_reward` down to 0 by how many others a member dominates, `[..., G]`.

  To dominate is to have the higher peaks and the lower mean: sure of most tokens, in doubt at a
  few. With N members in the order of that number, place k gets `max_reward (1 - k / (N - 1))`.

  Args:
    peak: `[..., G]`, of `entropy_structure`.
    overall: `[..., G]`, of `entropy_structure`.
    where: `[..., G]`, 1 on the members to rank: `truncated_failures`.
    max_reward: below 1, or the best failure earns as much as a right answer; the source's value was
      not seen.
  Returns:
    `[..., G]`, 0 where not ranked. Of equals the first gets more, so rewards are never all equal;
    one member alone gets `max_reward`.

  Source: arXiv 2601.19620, section 3.2.3, which divides by 0 for one member alone.

  >>> serr(jnp.array([[2.0, 3.0, 1.0]]), jnp.array([[1.0, 0.5, 2.0]]), max_reward=0.5)
  Array([[0.25, 0.5 , 0.  ]], dtype=float32)
  """
  chex.assert_shape(peak, (..., None, None))
  chex.assert_equal_shape([peak, overall])
  peak, overall = stats.as_float(peak), stats.as_float(overall)
  real = stats.is_real(peak, where)
  beats = (peak[..., :, None] > peak[..., None, :]) & (
    overall[..., :, None] < overall[..., None, :]
  )
  dominated = jnp.sum(beats & real[..., None, :], axis=-1)
  place = stats.rank(dominated, real).astype(peak.dtype)
  last = jnp.sum(real, axis=-1, keepdims=True).astype(peak.dtype) - 1
  return jnp.where(real, max_reward * (1 - place / jnp.maximum(last, 1)), 0)
