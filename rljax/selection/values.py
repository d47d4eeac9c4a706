"""Which prompts are worth another look: their value, and draws by it in place of spent ones."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def task_value(
  rewards: jax.Array, where: jax.Array | None = None, *, max_reward: float = 1.0, ddof: int = 1
) -> jax.Array:
  """Difficulty times uncertainty: `(max_reward - mean) * deviation` of each group.

  Args:
    rewards: `[..., G]`.
    where: `[..., G]`, 1 on real members.
    max_reward: the highest possible reward.
    ddof: 1 for the unbiased deviation.
  Returns:
    `[..., G]`, the group's value on each member; exactly 0 for equal rewards.

  Source: VSPO, arXiv 2512.07478, as a summary of it gives the formula; a reconstruction.
  """
  chex.assert_shape(rewards, (..., None, None))
  real = stats.is_real(rewards, where)
  deviation = stats.std(rewards, real, axis=-1, keepdims=True, ddof=ddof)
  value = (max_reward - stats.mean(rewards, real, axis=-1, keepdims=True)) * deviation
  return jnp.where(real & ~stats.is_constant(rewards, real), value, 0)


def accuracy_value(correct: jax.Array, where: jax.Array | None = None) -> jax.Array:
  """`(1 - p) * 4 p (1 - p)` of the pass rate p of each group, on each member, `[..., G]`.

  Largest at a third; 0 where all or none are right.

  Source: a reconstruction for arXiv 2512.07478.
  """
  chex.assert_shape(correct, (..., None, None))
  real = stats.is_real(correct, where)
  p = stats.mean(correct, real, axis=-1, keepdims=True)
  return jnp.where(real, 4 * p * (1 - p) ** 2, 0)


def refill_by_value(key: jax.Array, values: jax.Array) -> jax.Array:
  """Which prompt stands at each place of a batch, int `[P]`, once worthless ones are replaced.

  Args:
    key: PRNG key.
    values: `[P]`, at least 0.
  Returns:
    int `[P]`: its own index where the value is above 0, else a draw with probability in proportion
    to the values. Where none is above 0, every prompt stays.

  Source: a reconstruction for arXiv 2512.07478.
  """
  chex.assert_rank(values, 1)
  place = jnp.arange(values.shape[0])
  worth = values > 0
  logits = jnp.where(worth, jnp.log(jnp.where(worth, values, 1)), -jnp.inf)
  # All -inf is no distribution; then nothing is replaced.
  drawn = jax.random.categorical(key, jnp.where(jnp.any(worth), logits, 0), shape=values.shape)
  return jnp.where(worth | ~jnp.any(worth), place, drawn.astype(place.dtype))


def count_copies(index: jax.Array) -> jax.Array:
  """How often the prompt at each place stands in the batch, float32 `[P]`, from indices `[P]`.

  >>> count_copies(jnp.array([0, 2, 2, 2]))
  Array([1., 3., 3., 3.], dtype=float32)
  """
  ones = jnp.ones_like(index, dtype=jnp.float32)
  return jax.ops.segment_sum(ones, index, num_segments=index.shape[0])[index]
