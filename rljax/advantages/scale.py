"""One scale for the whole batch: what is divided are rewards that were centred in their groups.

`centred` is `[...]`, one number a sequence from `center`, and all of its axes together are the
batch. A sequence whose group has equal rewards comes with exactly 0.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def whiten_tokens(centred: jax.Array, mask: jax.Array) -> jax.Array:
  """Mean 0 and variance 1 over the batch's tokens, each with the number of its sequence.

  A sequence counts as often as it has tokens, so what was centred in its group is moved once more:
  a sequence of a group without spread gets a small advantage where lengths and signs correlate.

  Args:
    centred: `[...]`.
    mask: `[..., T]`, 1 on the tokens that count.
  Returns:
    `[..., T]`, 0 on masked tokens. Exactly 0 if no group has spread.

  Source: REINFORCE++-baseline of arXiv 2501.03262, as verl's
  compute_reinforce_plus_plus_baseline_outcome_advantage; and equation 3 of arXiv 2510.15110 (DLER)
  read by token, which gives neither eps nor ddof.

  >>> whiten_tokens(jnp.array([1.0, -1.0]), jnp.ones((2, 2)))
  Array([[ 0.8660254,  0.8660254],
         [-0.8660254, -0.8660254]], dtype=float32)
  """
  real = _tokens(centred, mask)
  return stats.whiten(jnp.where(real, centred[..., None], 0), real)


def whiten_sequences(centred: jax.Array, mask: jax.Array) -> jax.Array:
  """Mean 0 and variance 1 over the batch's sequences, each counted once, whatever its length.

  Args:
    centred: `[...]`.
    mask: `[..., T]`, 1 on the tokens that count; a sequence without one does not count.
  Returns:
    `[..., T]`, 0 on masked tokens. Exactly 0 if no group has spread.

  Source: equation 3 of arXiv 2510.15110 (DLER) read by sequence; eps and ddof as in `whiten`.

  >>> whiten_sequences(jnp.array([1.0, -1.0]), jnp.ones((2, 1)))
  Array([[ 0.70710677],
         [-0.70710677]], dtype=float32)
  """
  real = _tokens(centred, mask)
  return jnp.where(real, stats.whiten(centred, jnp.any(real, axis=-1))[..., None], 0)


def over_batch_std(
  centred: jax.Array,
  rewards: jax.Array,
  where: jax.Array | None = None,
  *,
  eps: float = 1e-4,
  ddof: int = 1,
) -> jax.Array:
  """Lite PPO: centred rewards over the deviation of the raw rewards of the whole batch, `[...]`.

  Unlike the whitening functions this does not shift: a group without spread stays at exactly 0.

  Args:
    centred: `[...]`.
    rewards: `[...]`, before centring.
    where: `[...]`, 1 on the sequences whose rewards count; None means all.
    eps: added to the deviation.
    ddof: 1 divides the squared deviations by the sequences less one.

  Source: arXiv 2508.08221, whose ddof and eps were not seen; these are TRL's for
  `scale_rewards="batch"`.

  >>> over_batch_std(jnp.array([[0.5, -0.5]]), jnp.array([[1.0, 0.0]]), eps=0.0)
  Array([[ 0.70710677, -0.70710677]], dtype=float32)
  """
  chex.assert_equal_shape([centred, rewards])
  scale = stats.std(rewards, where, ddof=ddof) + eps
  return stats.as_float(centred) / jnp.where(scale > 0, scale, 1)


def _tokens(centred, mask):
  chex.assert_rank(centred, mask.ndim - 1)
  chex.assert_equal_shape_prefix([centred, mask], mask.ndim - 1)
  return mask > 0
