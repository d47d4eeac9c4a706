"""ReRe: recommendations drawn by beam search, in which a likely miss costs more."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def rere(hit: jax.Array, where: jax.Array | None = None) -> jax.Array:
  """1 for a hit; for a miss, where the group has a hit, minus its share of the ranks' discounts.

  The discount of the k-th beam is `1 / log2(k + 2)`, counted from 0.

  Args:
    hit: `[..., G]`, above 0 on the target; members in the order of their beams, likeliest first.
    where: `[..., G]`, 1 on real members.
  Returns:
    `[..., G]`; all 0 where there is no hit.

  Source: the sum of rule_reward and ndcg_rule_reward of the authors' rere.py
  (github.com/sober-clever/ReRe).

  >>> rere(jnp.array([[0.0, 1.0, 0.0]]))
  Array([[-0.46927872,  1.        , -0.23463936]], dtype=float32)
  """
  chex.assert_shape(hit, (..., None, None))
  real = stats.is_real(hit, where)
  dtype = stats.as_float(hit).dtype
  hit = real & (hit > 0)
  beam = (jnp.cumsum(real, axis=-1) - 1).astype(dtype)
  discount = jnp.where(real, 1 / jnp.log2(jnp.maximum(beam, 0) + 2), 0)
  total = jnp.sum(discount, axis=-1, keepdims=True)
  found = jnp.any(hit, axis=-1, keepdims=True)
  miss = jnp.where(found, -discount / jnp.where(found, total, 1), 0)
  return jnp.where(hit, 1, miss)
