"""A penalty on the reward of what the reference would rarely do."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import stats


def chi2_penalty(
  density_ratio: jax.Array, where: jax.Array | None = None, *, trim: float = 0.01
) -> jax.Array:
  """`(d - 1) / sqrt(chi2)`, to be taken off the reward, `[*N]`, a constant.

  Args:
    density_ratio: `[*N]`, d = policy over reference, from a discriminator for example.
    where: `[*N]`, 1 on the entries that count; None means all.
    trim: share of the entries left out at each end of `d - 1` before its mean is taken as chi2.
  Returns:
    `[*N]`; `d - 1` itself where that mean is not positive, 0 where nothing counts.

  Source: arXiv 2403.03185; follows _sqrt_chi2_discriminator_rewards of the authors' orpo, which has
  no mean for fewer entries than `1 / trim`, where none is left out here.
  """
  real = stats.is_real(density_ratio, where)
  x = jnp.where(real, jax.lax.stop_gradient(stats.as_float(density_ratio)) - 1, 0)
  flat, n = jnp.where(real, x, jnp.inf).reshape(-1), jnp.sum(real)
  rank = jnp.argsort(jnp.argsort(flat, stable=True), stable=True).reshape(x.shape)
  left_out = jnp.floor(stats.snap(trim * n.astype(x.dtype)))
  chi2 = stats.mean(x, (rank >= left_out) & (rank < n - left_out))
  return x / jnp.sqrt(jnp.where(chi2 > 0, chi2, 1))
