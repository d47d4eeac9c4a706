"""DW-GRPO: weights of rewards from how fast each of them has been growing."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats
from rljax.controllers import Controller


def slope(history: jax.Array, where: jax.Array | None = None) -> jax.Array:
  """Slope of the least-squares line through each row, per step, `[...]`.

  Args:
    history: `[..., W]`, oldest first, one step apart.
    where: `[..., W]`, 1 on entries that exist; None means all.
  Returns:
    `[...]`; 0 for fewer than two entries.

  >>> slope(jnp.array([[1.0, 2.0, 3.0], [2.0, 1.0, 0.0]]))
  Array([ 1., -1.], dtype=float32)
  """
  x, real = stats.as_float(history), stats.is_real(history, where)
  x = jnp.where(real, x, 0)
  time = jax.lax.broadcasted_iota(x.dtype, x.shape, x.ndim - 1)
  since = jnp.where(real, time - stats.mean(time, real, axis=-1, keepdims=True), 0)
  spread = jnp.sum(since**2, axis=-1)
  rise = jnp.sum(since * (x - stats.mean(x, real, axis=-1, keepdims=True)), axis=-1)
  return jnp.where(spread > 0, rise / jnp.where(spread > 0, spread, 1), 0)


def trend_weights(
  history: jax.Array,
  where: jax.Array | None = None,
  *,
  temperature: float,
  sign: float = -1.0,
) -> jax.Array:
  """`softmax(sign * slope / temperature)` over K rewards: more for those that lag.

  Args:
    history: `[..., K, W]`, mean of each reward in the last W steps, oldest first.
    where: the same shape, 1 on entries that exist; None means all.
    temperature: of the softmax; the source's is not known.
    sign: -1 favours rewards that lag, 1 those that improve.
  Returns:
    `[..., K]`, sum 1; equal weights for fewer than two entries.

  Source: arXiv 2601.11144. A reconstruction: its abstract and a third party's scheduler name a
  sliding window, slopes and a softmax; the sign follows the stated aim, which is balance, and the
  third party has the other.
  """
  return jax.nn.softmax(sign * slope(history, where) / temperature, axis=-1)


def dw_grpo(rewards: int, window: int, *, temperature: float, sign: float = -1.0) -> Controller:
  """`trend_weights` of the last `window` steps: state is the means `[K, window]` and a count.

  The observation is the mean of each reward at this step, `[K]`, which counts already; the value
  its weights `[K]`.

  Args:
    rewards: K.
    window: W, in steps; the source's is not known.
    temperature: of the softmax.
    sign: as in `trend_weights`.
  Raises:
    ValueError: `window` is below 2.

  Source: arXiv 2601.11144, a reconstruction as there.
  """
  if window < 2:
    raise ValueError(f'window is a number of steps and must be 2 at least, not {window}.')

  def init():
    return {'means': jnp.zeros((rewards, window)), 'seen': jnp.zeros((), jnp.int32)}

  def update(state, means):
    chex.assert_shape(means, (rewards,))
    newest = means[:, None].astype(state['means'].dtype)
    past = jnp.concatenate([state['means'][:, 1:], newest], axis=-1)
    seen = jnp.minimum(state['seen'] + 1, window)
    real = jnp.broadcast_to(jnp.arange(window) >= window - seen, past.shape)
    weights = trend_weights(past, real, temperature=temperature, sign=sign)
    return {'means': past, 'seen': seen}, weights

  return Controller(init, update)
