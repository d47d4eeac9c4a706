"""ROVER's reward of a token."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import stats
from rljax.advantages.group import center


def rover(rewards: jax.Array, where: jax.Array | None = None) -> jax.Array:
  """Reward less the group's mean, and the reward itself for a group of one, `[..., G]`.

  Source: arXiv 2509.24981; follows the authors' Countdown code, which centres only. Their recipe
  for mathematics divides by the deviation as well, which is `grpo`.

  >>> rover(jnp.array([[1.0], [0.5]]))
  Array([[1. ],
         [0.5]], dtype=float32)
  """
  centred, real = center(rewards, where), stats.is_real(rewards, where)
  alone = jnp.sum(real, axis=-1, keepdims=True) == 1
  return jnp.where(real & alone, stats.as_float(rewards), centred)
