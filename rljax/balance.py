"""How much each of several objectives that are trained together counts.

Weights of objectives from what was seen of their losses or entropies, and the controllers that
remember it. All numbers are per objective, never per token.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats
from rljax.controllers import Controller


def recap_weights(newer: jax.Array, older: jax.Array, *, temperature: float = 5.0) -> jax.Array:
  """Weights of K objectives from two windows of their losses: more for the worsening and unsteady.

  The score of an objective is `m / m' + s / (m + m')`, with m and s the mean and deviation (ddof 0)
  of the newer window and m' the mean of the older one; the weights are K times its softmax.

  Args:
    newer: `[..., K, W]`, the last W losses of each objective.
    older: `[..., K, W]`, the W before them.
    temperature: of the softmax over objectives.
  Returns:
    `[..., K]`, with mean 1; all 1 where no loss moves. Losses must not be negative (`1 - reward`
    does): quotients of numbers of either sign mean nothing. An objective that is 0 in both windows
    counts as one that does not move; one that leaves 0 gets nearly all weight.

  Source: RECAP, arXiv 2510.21978, equation 1, in the reading of two reviews that agree; a
  reconstruction in ddof, which they do not name, and at 0.

  >>> newer, older = jnp.array([[0.5, 0.5], [0.9, 0.9]]), jnp.array([[0.5, 0.5], [0.3, 0.3]])
  >>> [round(float(x), 4) for x in recap_weights(newer, older)]
  [0.8026, 1.1974]
  """
  chex.assert_equal_rank([newer, older])
  newer, older = stats.as_float(newer), stats.as_float(older)
  mean, before = newer.mean(-1), older.mean(-1)
  # The mean of equal losses is not always that loss, and a deviation of rounding is none.
  spread = jnp.where(stats.is_constant(newer, keepdims=False), 0, stats.std(newer, axis=-1))
  trend = jnp.where(mean == before, 1, mean / jnp.maximum(before, 1e-8))  # also of 0 and 0
  unrest = spread / jnp.maximum(mean + before, 1e-8)
  score = (trend + unrest) / temperature
  return newer.shape[-2] * jax.nn.softmax(score, axis=-1)


def recap(objectives: int, window: int, *, temperature: float = 5.0) -> Controller:
  """RECAP's weights of K objectives: state is their last losses, `[K, 2 * window]`, and a count.

  The observation is the losses `[K]` of this step, the value `recap_weights` of the last `window`
  losses and the `window` before them; until that many are seen, 1 for every objective.

  Args:
    objectives: K.
    window: W, in steps; the source's is not known.
    temperature: of the softmax over objectives.
  Raises:
    ValueError: `window` is below 1.

  Source: arXiv 2510.21978; see `recap_weights`.
  """
  if window < 1:
    raise ValueError(f'window is a number of steps and must be 1 at least, not {window}.')

  def init():
    return {'losses': jnp.zeros((objectives, 2 * window)), 'seen': jnp.zeros((), jnp.int32)}

  def update(state, losses):
    chex.assert_shape(losses, (objectives,))
    newest = losses[:, None].astype(state['losses'].dtype)
    past = jnp.concatenate([state['losses'][:, 1:], newest], axis=-1)
    seen = jnp.minimum(state['seen'] + 1, 2 * window)
    weights = recap_weights(past[:, window:], past[:, :window], temperature=temperature)
    weights = jnp.where(seen < 2 * window, jnp.ones_like(weights), weights)
    return {'losses': past, 'seen': seen}, weights

  return Controller(init, update)


def entropy_weight(sft_change: jax.Array, rl_change: jax.Array, *, limit: float = 5.0) -> jax.Array:
  """Weight of offline learning: how much more it moves the entropy than learning from rollouts.

  `|sft_change| / |rl_change|`, held to [1, `limit`].

  Args:
    sft_change: change of the entropy on demonstrations, in nats, any shape.
    rl_change: change of the entropy on rollouts, the same shape.
    limit: the largest weight.
  Returns:
    The same shape; 1 where neither moves, `limit` where only the demonstrations do.

  Source: RED, arXiv 2508.16677. A reconstruction: absolute values and the bounds are those of a
  derivative implementation, Recall-Extend-Dynamics-CoDA's compute_red_weight.

  >>> weight = entropy_weight(jnp.array([0.75, 0.1, 0.1, 0.0]), jnp.array([-0.25, 0.2, 0.0, 0.0]))
  >>> weight.tolist()
  [3.0, 1.0, 5.0, 1.0]
  """
  chex.assert_equal_shape([sft_change, rl_change])
  sft_change, rl_change = (jnp.abs(stats.as_float(x)) for x in (sft_change, rl_change))
  return jnp.clip(sft_change / (rl_change + 1e-8), 1, limit)


def accuracy_weight(accuracy: jax.Array, *, limit: float = 5.0) -> jax.Array:
  """Weight of offline learning: `limit` where no answer is right, `1 / limit` where all are.

  `limit**(1 - 2 accuracy)`, any shape; 1 at one half.

  Source: Recall-Extend-Dynamics-CoDA's compute_accuracy_weight, which puts it in place of RED's
  policy shift (`surrogates.policy_shift`).

  >>> [round(float(x), 4) for x in accuracy_weight(jnp.array([0.0, 0.5, 1.0]))]
  [5.0, 1.0, 0.2]
  """
  return jnp.asarray(limit, stats.as_float(accuracy).dtype) ** (1 - 2 * stats.as_float(accuracy))


def entropy_balance(*, limit: float = 5.0, decay: float = 0.99, initial: float = 1.0) -> Controller:
  """RED's weight of offline learning: state is the moving averages of the two entropies, `[2]`.

  The observation is the mean entropies `[2]` of this step, on demonstrations and on rollouts, in
  nats; the value `entropy_weight` of how far each moved its average.

  Args:
    limit: the largest weight.
    decay: of the averages.
    initial: both averages before the first step, in nats.

  Source: arXiv 2508.16677; averages as in Recall-Extend-Dynamics-CoDA.
  """

  def update(averages, entropies):
    chex.assert_shape(entropies, (2,))
    sft_change, rl_change = changes = (1 - decay) * (entropies - averages)
    return averages + changes, entropy_weight(sft_change, rl_change, limit=limit)

  return Controller(lambda: jnp.full((2,), initial), update)
