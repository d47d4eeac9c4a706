"""Advantages of turns: what a turn adds to its rollout's, both against their group."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats
from rljax.advantages.group import center


def verpo(
  outcomes: jax.Array,
  turn_rewards: jax.Array,
  turns: jax.Array,
  where: jax.Array | None = None,
  *,
  beta: float,
) -> jax.Array:
  """Centred outcome of the rollout plus `beta` times the centred reward of the turn, `[..., G, S]`.

  Outcomes are centred over rollouts, turns over all turns of all rollouts of the group.

  Args:
    outcomes: `[..., G]`, `shaping.verpo_outcome`.
    turn_rewards: `[..., G, S]`, `shaping.verpo_turns`.
    turns: `[..., G, S]`, 1 on real turns.
    where: `[..., G]`, 1 on real rollouts.
    beta: weight of the turns; the source's value was not seen.
  Returns:
    `[..., G, S]`, 0 where there is no turn; where no test is passed at all, the outcome's part.

  Source: arXiv 2601.03525, equations 12 to 14 as a note gives them.

  >>> outcomes, turn_rewards = jnp.array([[0.5, 0.0]]), jnp.array([[[0.0, 0.75], [0.25, 0.0]]])
  >>> verpo(outcomes, turn_rewards, jnp.ones((1, 2, 2)), beta=1.0)
  Array([[[ 0.  ,  0.75],
          [-0.25, -0.5 ]]], dtype=float32)
  """
  chex.assert_equal_shape([turn_rewards, turns])
  chex.assert_equal_shape_prefix([turn_rewards, outcomes], outcomes.ndim)
  real = stats.is_real(outcomes, where)[..., None] & (turns > 0)
  flat = (*outcomes.shape[:-1], -1)  # [..., G, S] -> [..., G * S]
  of_turns = center(turn_rewards.reshape(flat), real.reshape(flat)).reshape(turns.shape)
  return jnp.where(real, center(outcomes, where)[..., None] + beta * of_turns, 0)
