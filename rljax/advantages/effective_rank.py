"""A bonus from how many directions the hidden states of a completion span: VERL.

Three numbers describe a completion, its rank dynamics `[..., 3]`: effective rank, its velocity and
its acceleration along the tokens.
"""

from __future__ import annotations

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from rljax import stats


class RankMeans(NamedTuple):
  """Running means of rank dynamics.

  Attributes:
    means: `[3]`, what a batch is compared with; initially 0.
    previous: `[3]`, mean of the last batch, which enters `means` one step later.
    seen: `[]`, 1 once there was a batch.
  """

  means: jax.Array
  previous: jax.Array
  seen: jax.Array


def effective_rank(hidden: jax.Array, where: jax.Array | None = None) -> jax.Array:
  """`exp` of the entropy of the normalised singular values of the centred rows, `[...]`.

  Args:
    hidden: `[..., T, D]`; one row a token. A constant: no gradient.
    where: `[..., T]`, 1 on rows that count; the others are not read.
  Returns:
    `[...]`, at most `min(rows - 1, D)`; 1 for equal rows, 0 for less than two.

  Source: arXiv 2509.23808; follows the authors' metrics_utils.compute_single_effective_rank with
  full singular values, which are not squared.

  >>> effective_rank(jnp.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]))
  Array(2., dtype=float32)
  """
  hidden = jax.lax.stop_gradient(stats.as_float(hidden))
  real = stats.is_real(hidden[..., 0], where)
  rows = _from_first(hidden, real)
  centred = rows - stats.mean(
    rows, jnp.broadcast_to(real[..., None], rows.shape), axis=-2, keepdims=True
  )
  values = jnp.linalg.svd(jnp.where(real[..., None], centred, 0), compute_uv=False)
  p = values / (jnp.sum(values, axis=-1, keepdims=True) + 1e-8)
  entropy = -jnp.sum(p * jnp.log(p + 1e-8), axis=-1)
  return jnp.where(jnp.sum(real, axis=-1) >= 2, jnp.exp(entropy), 0)


def rank_dynamics(
  hidden: jax.Array, where: jax.Array | None = None, *, stride: int = 40, window: int = 512
) -> jax.Array:
  """Effective rank of a completion, its velocity and its acceleration, `[3]`.

  The rank is that of all tokens. The other two are of the last `window` tokens, whose rank `m_j` is
  taken of the first `j * stride + 1`, j = 1, 2, ..., as long as there are more tokens than
  `j * stride`: with `d_j` the difference of `m_j` to the mean of all `m` before it, velocity is the
  mean `d` and acceleration the mean difference of successive `d`.

  Written for one completion, so that activations need not be kept for a batch: use `jax.lax.map`
  over completions, or call it where they are computed, and keep three numbers each.

  Args:
    hidden: `[T, D]`, activations of one layer at the completion's tokens. No gradient.
    where: `[T]`, 1 on tokens that count; holes are closed.
    stride: tokens between two ranks.
    window: tokens at the end of which velocity and acceleration are taken.
  Returns:
    `[3]`. Velocity 0 up to `2 * stride` tokens, acceleration 0 up to `3 * stride`; all 0 for less
    than two.

  Source: arXiv 2509.23808; follows the authors' calculate_diffs_for_single_sample_original. Their
  faster version takes the ranks from Gram matrices, which lose half the digits, so it differs where
  hidden states span few directions. The layer is open: the paper's is not known here.
  """
  chex.assert_rank(hidden, 2)
  hidden = jax.lax.stop_gradient(stats.as_float(hidden))
  real = stats.is_real(hidden[:, 0], where)
  size = min(hidden.shape[0], window)
  place = jnp.arange(size)
  # The last real rows, in order and without holes.
  order = jnp.argsort(~real, stable=True)
  count = jnp.sum(real)
  rows = hidden[order[jnp.maximum(count - size, 0) + place]]
  rows = _from_first(rows, place < count)
  if hidden.shape[1] > size:  # a rotation, which no singular value notices
    rows = jnp.linalg.qr(rows.T, mode='r').T

  last = jnp.arange(stride, size, stride)
  ranks = jax.lax.map(lambda t: effective_rank(rows, place <= t), last)
  before = jnp.cumsum(ranks)[:-1] / jnp.arange(1, max(len(last), 1)).astype(ranks.dtype)
  change = ranks[1:] - before
  real_change = last[1:] < count
  velocity = stats.mean(change, real_change)
  acceleration = stats.mean(change[1:] - change[:-1], real_change[1:])
  return jnp.stack([effective_rank(hidden, real), velocity, acceleration])


def rank_bonus(
  dynamics: jax.Array, means: jax.Array, *, gain: float = 2.0, scale: float = 1.0
) -> jax.Array:
  """How far a completion's rank or its velocity is above the running mean, in `[-scale, scale]`.

  Each of the three is taken relative to its mean, `(x - mean) / (|mean| + 1e-8)`, held to +-5.
  Acceleration decides between the other two: accelerating completions are judged by their rank,
  slowing ones by their velocity.

  Args:
    dynamics: `[..., 3]`, from `rank_dynamics`.
    means: `[3]`.
    gain: how sharply acceleration decides.
    scale: of the result.
  Returns:
    `[...]`; to be added by `bounded_bonus`.

  Source: arXiv 2509.23808; follows the authors' reward_manager_versions.py.
  """
  means = jnp.broadcast_to(means, dynamics.shape)
  deviation = jnp.clip((dynamics - means) / (jnp.abs(means) + 1e-8), -5, 5)
  rank, velocity, acceleration = (deviation[..., i] for i in range(3))
  by_rank = jax.nn.sigmoid(gain * acceleration)
  return scale * (by_rank * jnp.tanh(rank) + (1 - by_rank) * jnp.tanh(velocity))


def init_rank_means() -> RankMeans:
  """Nothing seen yet."""
  return RankMeans(jnp.zeros(3), jnp.zeros(3), jnp.zeros(()))


def update_rank_means(
  state: RankMeans, dynamics: jax.Array, where: jax.Array | None = None, *, rate: float = 0.3
) -> RankMeans:
  """Lets the previous batch into the means at `rate`, and keeps this one's mean for the next time.

  Args:
    state: the means so far.
    dynamics: `[..., 3]` of a batch.
    where: `[...]`, 1 on completions that count; without any the state stays as it is.
    rate: weight of the newest batch.

  Source: the delay by a step is that of the authors' reward_manager_versions.py.
  """
  real = stats.is_real(dynamics[..., 0], where)
  each = jnp.broadcast_to(real[..., None], dynamics.shape)
  batch = stats.mean(dynamics, each, axis=tuple(range(dynamics.ndim - 1)))
  moved = state.means + rate * (state.previous - state.means)
  new = RankMeans(jnp.where(state.seen > 0, moved, state.means), batch, jnp.ones_like(state.seen))
  return jax.tree.map(lambda a, b: jnp.where(jnp.any(real), a, b), new, state)


def _from_first(rows, real):
  """Real rows less the first of them, the rest 0: equal rows then centre to 0 exactly."""
  first = jnp.argmax(real, axis=-1)[..., None, None]
  rows = jnp.where(real[..., None], rows, 0)
  return jnp.where(real[..., None], rows - jnp.take_along_axis(rows, first, axis=-2), 0)
