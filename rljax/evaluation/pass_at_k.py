"""How often a prompt is solved, from n answers to it: `correct [..., n]`, above 0 where right."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import stats


def pass_at_k(correct: jax.Array, k: int) -> jax.Array:
  """Unbiased estimate of the chance that at least one of k answers is right, `[...]`.

  `1 - C(n - c, k) / C(n, k)` for c right answers of n; 0 for c = 0, and 1 once fewer than k are
  wrong.

  Raises:
    ValueError: k is not within `[1, n]`.

  Source: Chen et al. 2021, arXiv 2107.03374.

  >>> pass_at_k(jnp.array([[1, 0, 0, 0]]), 2)
  Array([0.5], dtype=float32)
  """
  n = correct.shape[-1]
  if not 1 <= k <= n:
    raise ValueError(f'pass@{k} needs 1 <= k <= n, and there are n = {n} answers a prompt.')
  right = stats.as_float(correct) > 0
  wrong = n - jnp.sum(right, axis=-1, keepdims=True)
  # C(n - c, k) / C(n, k) is the product of 1 - k / i over i = n - c + 1 .. n. In logarithms a small
  # estimate keeps its digits.
  i = jax.lax.broadcasted_iota(jnp.int32, right.shape, right.ndim - 1) + 1
  share = k / jnp.maximum(i, k + 1).astype(stats.as_float(correct).dtype)
  log_none = jnp.sum(jnp.where(i > wrong, jnp.log1p(-share), 0), axis=-1)
  return jnp.where(wrong[..., 0] < k, 1, jnp.abs(jnp.expm1(log_none)))


def avg_at_k(correct: jax.Array) -> jax.Array:
  """Share of right answers, `[..., n]` -> `[...]`; the estimate of pass@1."""
  correct = stats.as_float(correct)
  return stats.mean((correct > 0).astype(correct.dtype), axis=-1)
