"""The best of a batch."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import stats


def top_fraction(values: jax.Array, where: jax.Array | None = None, *, share: float) -> jax.Array:
  """1 on the `share` of entries with the largest values, rounded up and one at least, else 0.

  Args:
    values: `[..., P]`, such as the accuracy of each prompt of a batch.
    where: `[..., P]`, 1 on real entries, of which the share is taken; None means all.
    share: in [0, 1].
  Returns:
    `[..., P]` floats; of equal values the first ones. Nobody is chosen where nobody is real.

  Source: the batch-wise switch of arXiv 2505.18086 (GRPO-lambda); rounding and ties are ours.

  >>> top_fraction(jnp.array([0.5, 1.0, 0.25, 1.0, 1.0]), share=0.3)
  Array([0., 1., 0., 1., 0.], dtype=float32)
  """
  values = stats.as_float(values)
  real = stats.is_real(values, where)
  n = jnp.sum(real, axis=-1, keepdims=True).astype(values.dtype)
  count = jnp.maximum(jnp.ceil(stats.snap(share * n)), 1)
  return (real & (stats.rank(values, real) < count)).astype(values.dtype)
