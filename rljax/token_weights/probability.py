"""Which tokens left the policy a choice."""

from __future__ import annotations

import jax

from rljax import stats


def unlikely(probs: jax.Array, mask: jax.Array, *, threshold: float = 0.9) -> jax.Array:
  """1 on real tokens of a probability below `threshold`, else 0, `[..., T]`.

  As a mask (multiplied into `mask` before an aggregation) it takes the others out of the count too.

  Source: the probability mask of arXiv 2505.23564.
  """
  probs = stats.as_float(probs)
  return (stats.is_real(probs, mask) & (probs < threshold)).astype(probs.dtype)
