"""O1-Pruner: responses against the length and accuracy of a reference model."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def o1_pruner(
  correct: jax.Array,
  lengths: jax.Array,
  ref_length: jax.Array,
  ref_accuracy: jax.Array,
  where: jax.Array | None = None,
  *,
  alpha: float = 5.0,
  low: float = -2.0,
  high: float = 4.0,
) -> jax.Array:
  """How much shorter and how much better than the reference, standardised over the data.

  `ref_length / length - 1 + alpha (correct - ref_accuracy)`, held to `[low, high]`, less the mean
  and over the deviation (ddof 0) of all entries.

  Args:
    correct: any shape, above 0 where the answer is right.
    lengths: the same shape, in tokens; none counts as one.
    ref_length: the same shape, mean length of the reference's samples of the prompt.
    ref_accuracy: the same shape, their accuracy.
    where: the same shape, 1 on the entries that count; None means all.
    alpha: weight of accuracy.
    low: least weight before it is standardised.
    high: largest.
  Returns:
    The same shape; 0 if all are equal (0 over 0 in the source), and where nothing counts.

  Source: arXiv 2501.12570; the bounds and the standardisation are those of the authors'
  construct_dataset.py alone.

  >>> o1_pruner(jnp.array([1.0, 1.0]), jnp.array([50, 100]), jnp.full(2, 100.0), jnp.full(2, 0.5))
  Array([ 1., -1.], dtype=float32)
  """
  chex.assert_equal_shape([correct, lengths, ref_length, ref_accuracy])
  real = stats.is_real(correct, where)
  lengths = jnp.maximum(stats.as_float(lengths), 1)
  shorter = (stats.as_float(ref_length) - lengths) / lengths
  better = (correct > 0).astype(lengths.dtype) - stats.as_float(ref_accuracy)
  weight = jnp.clip(jnp.where(real, shorter + alpha * better, 0), low, high)
  spread = stats.std(weight, real)
  varies = ~stats.is_constant(weight, real, axis=None, keepdims=False) & (spread > 0)
  centred = weight - stats.mean(weight, real)
  return jnp.where(real & varies, centred / jnp.where(varies, spread, 1), 0)
