"""A-GRAE: from easy to hard prompts as the policy succeeds more, and little praise early on."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from rljax import stats
from rljax.advantages._members import group_mean, members
from rljax.advantages.group import grpo


def a_grae(
  rewards: jax.Array,
  where: jax.Array | None = None,
  *,
  success: jax.Array | None = None,
  omega: jax.Array | None = None,
  alpha: float = 1.0,
  eps: float = 1e-6,
  ddof: int = 1,
) -> jax.Array:
  """GRPO advantages `z`, reweighted by the success rates p of the group and omega of the batch.

  `omega / 2 * z / sqrt(p) + (1 - omega) / 2 * z / sqrt(1 - p)`; positive advantages are then
  multiplied by `min(1, omega / alpha)`.

  Args:
    rewards: `[..., G]`; the last axis is the group.
    where: `[..., G]`, 1 on real members; None means all.
    success: `[..., G]` in [0, 1], from which p follows; None means the rewards, which must then be
      in [0, 1].
    omega: `[]`, success rate of the batch; None means the mean of `success`.
    alpha: success rate from which positive advantages count in full.
    eps: added to the group's deviation.
    ddof: 1 for the unbiased deviation.
  Returns:
    `[..., G]`. Where p is 0 or 1, `z` is not reweighted (of 0/1 rewards it is 0 there). A batch
    without success and a group of one: 0.

  Source: arXiv 2602.05548, equations 11 to 13; the authors' code differs, see `a_grae_released`.

  >>> a_grae(jnp.array([[1.0, 0.0, 1.0, 0.0]]), eps=0.0)
  Array([[ 0.30618623, -0.61237246,  0.30618623, -0.61237246]], dtype=float32)
  """

  def scales(p):
    return jnp.sqrt(p), jnp.sqrt(1 - p)

  return _reweighted(rewards, where, success, omega, alpha, eps, ddof, scales)


def a_grae_released(
  rewards: jax.Array,
  where: jax.Array | None = None,
  *,
  success: jax.Array | None = None,
  omega: jax.Array | None = None,
  alpha: float = 1.0,
  eps: float = 1e-6,
  ddof: int = 1,
) -> jax.Array:
  """`a_grae` with `1 - sqrt(p) + eps` for `sqrt(1 - p)` and `sqrt(p) + eps` for `sqrt(p)`.

  At p = 0.9 easy prompts weigh six times as much as in the paper. The code has for `omega` the mean
  of the groups' means, which for groups of one size is that of the batch.

  Source: compute_grpo_outcome_advantage of the authors' core_algos.py, `grpo_weight` 2.
  """

  def scales(p):
    return jnp.sqrt(p) + eps, 1 - jnp.sqrt(p) + eps

  return _reweighted(rewards, where, success, omega, alpha, eps, ddof, scales)


def _reweighted(
  rewards: jax.Array,
  where: jax.Array | None,
  success: jax.Array | None,
  omega: jax.Array | None,
  alpha: float,
  eps: float,
  ddof: int,
  scales: Callable[[jax.Array], tuple[jax.Array, jax.Array]],
) -> jax.Array:
  z = grpo(rewards, where, eps=eps, ddof=ddof)
  success, real = members(rewards if success is None else success, where)
  omega = stats.mean(success, real) if omega is None else omega
  p = group_mean(success, real)
  between = (p > 0) & (p < 1)
  hard, easy = scales(jnp.where(between, p, 0.5))
  found = jnp.where(between, omega / 2 * z / hard + (1 - omega) / 2 * z / easy, z)
  return jnp.where(found > 0, found * jnp.minimum(1, omega / alpha), found)
