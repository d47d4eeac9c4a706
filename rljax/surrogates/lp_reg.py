"""Lp-Reg: unlikely tokens that are not noise are kept from being pushed to nothing.

What is not noise says a proxy, `vocabulary.proxy_logp` of the policy that drew the tokens.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import divergences, ratios, stats
from rljax.surrogates.clipped import clipped

_LIMIT = 10.0


def least_likely(logp: jax.Array, where: jax.Array, *, share: float) -> jax.Array:
  """True on the `int(share * count)` least likely of the tokens that count, `[..., T]`.

  None are if that number is 1 or 0. Equal ones are taken in order of place.

  Args:
    logp: `[..., T]`, any number of leading axes: all tokens together are ranked.
    where: `[..., T]`, 1 on the tokens that count.
    share: of them.
  """
  chex.assert_equal_shape([logp, where])
  real = stats.is_real(logp, where)
  flat = jnp.where(real, stats.as_float(logp), jnp.inf).reshape(-1)
  rank = jnp.argsort(jnp.argsort(flat, stable=True), stable=True).reshape(logp.shape)
  wanted = jnp.floor(stats.snap(share * jnp.sum(real).astype(flat.dtype)))
  return real & (rank < wanted) & (wanted > 1)


def lp_gate(
  logp: jax.Array, proxy_logp: jax.Array, advantages: jax.Array, where: jax.Array, *, share: float
) -> jax.Array:
  """Tokens that are protected: least likely of those with negative advantage, and likelier to the
  proxy than to the policy; 1 or 0, `[..., T]`, a constant.

  Args:
    logp: `[..., T]`.
    proxy_logp: `[..., T]`.
    advantages: `[..., T]` or `[..., 1]`.
    where: `[..., T]`, 1 on trained tokens.
    share: of the tokens with negative advantage that are candidates.

  Source: compute_policy_loss_lp_reg of the authors of arXiv 2510.03222, there in each microbatch.
  """
  pool = stats.is_real(logp, where) & (advantages < 0)
  likely = jnp.where(pool, logp, 0) < jnp.where(pool, proxy_logp, 0)
  gate = least_likely(logp, pool.astype(jnp.float32), share=share) & likely
  return jax.lax.stop_gradient(gate.astype(stats.as_float(logp).dtype))


def lp_gate_of_all(
  logp: jax.Array, proxy_logp: jax.Array, advantages: jax.Array, where: jax.Array, *, share: float
) -> jax.Array:
  """`lp_gate` as the paper has it: least likely of all tokens, kept by the proxy, `advantages < 0`.

  Source: arXiv 2510.03222, equation 6; its quantile of probabilities is taken as a number of tokens
  here, as in the code.
  """
  real = stats.is_real(logp, where)
  kept = jnp.where(real, proxy_logp, 0) > -1e4
  gate = least_likely(logp, where, share=share) & kept & (advantages < 0)
  return jax.lax.stop_gradient(gate.astype(stats.as_float(logp).dtype))


def lp_reg(
  logp: jax.Array,
  old_logp: jax.Array | None,
  advantages: jax.Array,
  proxy_logp: jax.Array,
  gate: jax.Array,
  *,
  beta: float = 1.0,
  cap: float = 10.0,
) -> jax.Array:
  """PPO's loss with the ratio in [0, `cap`]; of gated tokens unclipped, plus `beta` times k3.

  The gradient of a gated token is `-A ratio + beta (1 - exp(d))` with `d = proxy_logp - logp`: the
  second part raises `logp` while the proxy is above it. The penalty stops at 10, without gradient
  beyond.

  Args:
    logp: `[..., T]`.
    old_logp: `[..., T]`, or None on the first and only update.
    advantages: `[..., T]` or `[..., 1]`, a constant.
    proxy_logp: `[..., T]`, a constant; read where `gate` is 1.
    gate: `[..., T]`, 1 or 0.
    beta: weight of the penalty.
    cap: the largest ratio of a positive advantage. (That of a negative one is not bounded here,
      where equation 6 of the paper bounds both.)

  Source: compute_policy_loss_lp_reg of the authors of arXiv 2510.03222.
  """
  advantages, gated = jax.lax.stop_gradient(advantages), gate > 0
  ratio = ratios.token(logp, old_logp)
  proxy = jnp.where(gated, jax.lax.stop_gradient(proxy_logp), jax.lax.stop_gradient(logp))
  penalty = divergences.k3(logp, proxy)
  penalty = jnp.where(penalty > _LIMIT, _LIMIT, penalty)
  free = -advantages * ratio + beta * penalty
  return jnp.where(gated, free, clipped(ratio, advantages, 1.0, cap - 1.0))


def lp_reg_of_kl(
  logp: jax.Array,
  old_logp: jax.Array | None,
  advantages: jax.Array,
  proxy_kl: jax.Array,
  gate: jax.Array,
  *,
  beta: float = 1.0,
  cap: float = 10.0,
) -> jax.Array:
  """`-min(ratio, cap) A` of every token, plus `beta` times `proxy_kl` of gated ones, `[..., T]`.

  Args:
    logp: `[..., T]`.
    old_logp: `[..., T]`, or None on the first and only update.
    advantages: `[..., T]` or `[..., 1]`, a constant.
    proxy_kl: `[..., T]`, `vocabulary.proxy_kl`, which is differentiated; read where `gate` is 1.
    gate: `[..., T]`, 1 or 0.
    beta: weight of the penalty.
    cap: the largest ratio, whatever the sign of the advantage.

  Source: arXiv 2510.03222, equation 6.
  """
  ratio = ratios.token(logp, old_logp)
  ratio = jnp.where(ratio > cap, cap, ratio)
  penalty = jnp.where(gate > 0, proxy_kl, 0)
  return -jax.lax.stop_gradient(advantages) * ratio + beta * penalty
