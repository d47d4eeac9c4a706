"""Self-RedTeam: an attacker rewrites a prompt, a defender answers it, and both are one model."""

from __future__ import annotations

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from rljax import stats


class RedTeamRewards(NamedTuple):
  """What a game brings, `[*N]` each.

  Attributes:
    attacker: in [-2, 2].
    defender: in [-2, 2].
    tie: 1 where a label is missing; such games are taken out of the batch.
  """

  attacker: jax.Array
  defender: jax.Array
  tie: jax.Array


def redteam(
  seed_harmful: jax.Array,
  prompt_harmful: jax.Array,
  response_harmful: jax.Array,
  refused: jax.Array,
) -> RedTeamRewards:
  """Rewards of both roles from the labels of a guard model; their sum is not zero.

  The attacker gets +-0.5 for a prompt that is harmful exactly where its seed is, +-0.5 for a
  refusal exactly where the prompt is harmless, and +-1 for a harmful response. The defender gets
  +-1 for a refusal exactly where the prompt is harmful, and +-1 for a harmless response.

  Args:
    seed_harmful: `[*N]`, above 0 where the seed of the prompt is harmful; always known.
    prompt_harmful: `[*N]`, of the rewritten prompt: above 0 yes, 0 no, below 0 or NaN missing.
    response_harmful: likewise.
    refused: likewise, whether the defender refused.
  Returns:
    Both rewards; what needs a missing label is 0.

  Source: arXiv 2506.07468; follows the authors' red_team/utils.py, general_sum, which is what their
  scripts train where the paper argues from a zero-sum game. The code takes a missing refusal for
  compliance when it rewards the defender; it leaves such games out, as they are ties.

  >>> attack = redteam(*(jnp.array([x]) for x in (1.0, 1.0, 1.0, 0.0)))
  >>> float(attack.attacker[0]), float(attack.defender[0])
  (2.0, -2.0)
  """
  chex.assert_equal_shape([seed_harmful, prompt_harmful, response_harmful, refused])
  prompt, response, refusal = map(_sign, (prompt_harmful, response_harmful, refused))
  seed = jnp.where(seed_harmful > 0, 1, -1).astype(prompt.dtype)
  attacker = 0.5 * seed * prompt - 0.5 * prompt * refusal + response
  defender = prompt * refusal - response
  tie = (prompt == 0) | (response == 0) | (refusal == 0)
  return RedTeamRewards(attacker, defender, tie.astype(prompt.dtype))


def redteam_format(formatted: jax.Array) -> jax.Array:
  """1 where the answer comes after the thought in its own tags, else -1; for either role.

  Source: arXiv 2506.07468; the authors' red_team/utils.py.
  """
  return jnp.where(formatted > 0, 1, -1).astype(stats.as_float(formatted).dtype)


def _sign(label):
  """1 for yes, -1 for no, 0 for a missing label."""
  label = stats.as_float(label)
  return jnp.where(label > 0, 1, jnp.where(label == 0, -1, 0)).astype(label.dtype)
