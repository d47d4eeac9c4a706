"""The tokens with the largest scores of a batch."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def top_share(scores: jax.Array, where: jax.Array, *, share: float | jax.Array) -> jax.Array:
  """1 on the `ceil(share * count)` largest scores of all that count, else 0; `[...]`, a constant.

  Args:
    scores: `[...]`, ranked over all axes.
    where: `[...]`, 1 on those that count.
    share: in [0, 1].
  Returns:
    `[...]`; of equal scores the first ones.

  Source: the token level of arXiv 2509.22115.

  >>> top_share(jnp.array([[3.0, 1.0, 2.0]]), jnp.ones((1, 3)), share=0.5)
  Array([[1., 0., 1.]], dtype=float32)
  """
  chex.assert_equal_shape([scores, where])
  real = stats.is_real(scores, where)
  scores = jax.lax.stop_gradient(stats.as_float(scores))
  flat = jnp.where(real, -scores, jnp.inf).reshape(-1)
  rank = jnp.argsort(jnp.argsort(flat, stable=True), stable=True).reshape(scores.shape)
  wanted = jnp.ceil(stats.snap(share * jnp.sum(real).astype(flat.dtype)))
  return (real & (rank < wanted)).astype(flat.dtype)
