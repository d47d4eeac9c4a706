"""The greedy completion's reward as baseline."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats
from rljax.advantages.batch import reward_to_go


def remax(token_rewards: jax.Array, greedy_rewards: jax.Array, mask: jax.Array) -> jax.Array:
  """Reward-to-go of each token less the reward of the prompt's greedy completion, `[..., T]`.

  One sample a prompt is enough. With an outcome reward alone every token gets the same number.

  Args:
    token_rewards: `[..., T]`: the outcome on the last token, a KL penalty already in it where used.
    greedy_rewards: `[...]`.
    mask: `[..., T]`; masked tokens are not read and get 0.

  Source: arXiv 2310.10505; as verl's compute_remax_outcome_advantage, which may leave a reward at a
  masked token inside the completion.

  >>> remax(jnp.array([[0.0, 3.0, 9.0]]), jnp.array([1.0]), jnp.array([[1.0, 1.0, 0.0]]))
  Array([[2., 2., 0.]], dtype=float32)
  """
  chex.assert_rank(greedy_rewards, mask.ndim - 1)
  chex.assert_equal_shape_prefix([greedy_rewards, mask], mask.ndim - 1)
  returns = reward_to_go(token_rewards, mask)
  return jnp.where(mask > 0, returns - stats.as_float(greedy_rewards)[..., None], 0)
