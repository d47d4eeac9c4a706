"""Advantages shaped by how likely the policy finds a completion, so that rare right answers count.

`score [..., G]` is a completion's mean log-probability a token.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats
from rljax.advantages.group import grpo


def bounded_bonus(advantages: jax.Array, bonus: jax.Array, *, limit: float) -> jax.Array:
  """`A + min(max(bonus, 0), limit |A|)`, any shape: nothing is lowered, no 0 moves.

  With `limit` up to 1 no advantage changes its sign.

  Source: the bound of XRPO, arXiv 2510.06672, and of VERL's bonus (`rank_bonus`).

  >>> bounded_bonus(jnp.array([1.0, -1.0, 0.0]), jnp.array([0.3, 2.0, 2.0]), limit=0.5)
  Array([ 1.3, -0.5,  0. ], dtype=float32)
  """
  return advantages + jnp.minimum(jnp.maximum(bonus, 0), limit * jnp.abs(advantages))


def novelty(score: jax.Array, where: jax.Array | None = None) -> jax.Array:
  """`exp(score - mean)` of each member, `[..., G]`: below 1 if it is less likely than its group.

  Args:
    score: `[..., G]`.
    where: `[..., G]`, 1 on members that have a score; the others get 1.

  Source: XRPO, arXiv 2510.06672.
  """
  chex.assert_shape(score, (..., None, None))
  score, real = stats.as_float(score), stats.is_real(score, where)
  score = jnp.where(real, score, 0)
  return jnp.exp(jnp.where(real, score - stats.mean(score, real, axis=-1, keepdims=True), 0))


def sharpen(
  advantages: jax.Array, novelty: jax.Array, *, lam: float = 1.0, kappa: float = 1.0
) -> jax.Array:
  """XRPO: positive advantages raised by `min(max(lam (1 - novelty), 0), kappa A)`, any shape.

  Args:
    advantages: of any estimator.
    novelty: the same shape, from `novelty`.
    lam: strength.
    kappa: the largest raise, as a share of the advantage.
  Returns:
    The same shape. What is likelier than its group, and what has no positive advantage, is as
    before.

  Source: arXiv 2510.06672, equation 6 as a review quotes it; the defaults are those of another
  implementation, which also raises wrong answers where this raises positive advantages alone.

  >>> sharpen(jnp.array([1.0, 1.0, -1.0]), jnp.array([0.25, 2.0, 0.25]), kappa=0.5)
  Array([ 1.5,  1. , -1. ], dtype=float32)
  """
  raised = bounded_bonus(advantages, lam * (1 - novelty), limit=kappa)
  return jnp.where(advantages > 0, raised, advantages)


def confidence(logp: jax.Array, mask: jax.Array, *, share: float = 0.2) -> jax.Array:
  """Geometric mean probability of the least likely tokens, `[..., T] -> [...]`, in [0, 1].

  Args:
    logp: `[..., T]`.
    mask: `[..., T]`, 1 on tokens that count; the others are not read.
    share: the part of the tokens that is averaged, rounded up, at least one.
  Returns:
    `[...]`; 0 without tokens.

  Source: ProGRPO, arXiv 2602.05281, a reconstruction: accounts of the paper name the least likely
  20 % and leave open whether it is this or the mean log-probability itself.

  >>> confidence(jnp.log(jnp.array([[0.9, 0.5, 0.9, 0.9]])), jnp.ones((1, 4)))
  Array([0.5], dtype=float32)
  """
  logp, real = stats.as_float(logp), stats.is_real(logp, mask)
  length = jnp.sum(real, axis=-1, keepdims=True)
  ordered = jnp.sort(jnp.where(real, logp, jnp.inf), axis=-1)
  count = jnp.maximum(jnp.ceil(share * length.astype(logp.dtype)), 1)
  place = jax.lax.broadcasted_iota(jnp.int32, logp.shape, logp.ndim - 1)
  mean = stats.mean(ordered, (place < count) & (place < length), axis=-1)
  return jnp.where(length[..., 0] > 0, jnp.exp(mean), 0)


def progrpo(
  rewards: jax.Array,
  prompt_confidence: jax.Array,
  answer_confidence: jax.Array,
  where: jax.Array | None = None,
  *,
  alpha: float,
) -> jax.Array:
  """GRPO advantages plus `alpha` times what the prompt is surer than the answer.

  Wrong members of a mixed group are shifted as well. In a group of equal rewards that are not 0
  the shift is all there is: it pushes unsure answers up and sure ones down.

  Args:
    rewards: `[..., G]`.
    prompt_confidence: `[..., G]`, `confidence` of the prompt's tokens, equal within a group.
    answer_confidence: `[..., G]`, `confidence` of the completions.
    where: `[..., G]`, 1 on real members.
    alpha: strength; the paper's value is not known here.
  Returns:
    `[..., G]`. All rewards 0: 0.

  Source: arXiv 2602.05281, a reconstruction from two accounts that agree on cases and sign.
  """
  chex.assert_equal_shape([rewards, prompt_confidence, answer_confidence])
  real = stats.is_real(rewards, where)
  shift = jnp.where(real, alpha * (prompt_confidence - answer_confidence), 0)
  nothing = jnp.all(~real | (rewards == 0), axis=-1, keepdims=True)
  return grpo(rewards, where) + jnp.where(nothing, 0, shift)
