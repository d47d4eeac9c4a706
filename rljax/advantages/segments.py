"""Segments of a completion: where it is cut, what the cuts are worth, and what each token gets.

Arrays are `[..., T]` over the tokens of a completion. A cut lies before a token: its value is that
of the prompt with the tokens before it, so a cut at token 0 is worth what the prompt is.
`cut_points`, `cut_positions` and `place_values` are for the rollout that estimates the values.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def cut_points(
  probs: jax.Array, mask: jax.Array, *, threshold: float = 0.9, interval: int = 5
) -> jax.Array:
  """1 on the tokens before which the value is to be estimated, `[..., T]`.

  Candidates are the tokens of a probability below `threshold`; of these the first and then every
  `interval`-th is taken.

  Args:
    probs: `[..., T]`, probability of each token under the policy that was sampled from.
    mask: `[..., T]`.
    threshold: a token this likely leaves nothing to decide.
    interval: candidates from one cut to the next.
  Returns:
    `[..., T]` floats; 0 throughout where no token is unlikely.

  Source: arXiv 2505.23564; follows the authors' math_episode_generator_with_mc_advantages.py, which
  names a cut by the token before it, -1 for the prompt.

  >>> cut_points(jnp.array([[0.5, 0.95, 0.3, 0.2]]), jnp.ones((1, 4)), interval=2)
  Array([[1., 0., 0., 1.]], dtype=float32)
  """
  probs = stats.as_float(probs)
  low = stats.is_real(probs, mask) & (probs < threshold)
  rank = jnp.cumsum(low, axis=-1) - 1
  return (low & (rank % interval == 0)).astype(probs.dtype)


def cut_positions(cuts: jax.Array, *, size: int) -> jax.Array:
  """Where the first `size` cuts are, int `[..., size]`: tokens before each; -1 where there is none.

  >>> cut_positions(jnp.array([[1.0, 0.0, 0.0, 1.0]]), size=3)
  Array([[ 0,  3, -1]], dtype=int32)
  """
  position, length = _positions(cuts)
  first = jnp.sort(jnp.where(cuts > 0, position, length), axis=-1)[..., :size]
  return jnp.where(first < length, first, -1)


def place_values(
  rewards: jax.Array, positions: jax.Array, where: jax.Array | None = None, *, length: int
) -> tuple[jax.Array, jax.Array]:
  """Cuts and their Monte-Carlo values, each `[..., T]`, from the rewards of fresh completions.

  Args:
    rewards: `[..., S, K]`, of K completions of the prefix at each of S positions.
    positions: int `[..., S]`, as `cut_positions` gives them.
    where: `[..., S, K]`, 1 on completions that were had; None means all.
    length: T.
  Returns:
    `cuts`, 1 where a position has at least one completion, and `values`, their mean reward there
    and 0 elsewhere.

  >>> place_values(jnp.array([[[1.0, 0.0]]]), jnp.array([[2]]), length=3)[1]
  Array([[0. , 0. , 0.5]], dtype=float32)
  """
  chex.assert_equal_shape_prefix([rewards, positions], positions.ndim)
  real = stats.is_real(rewards, where)
  values = stats.mean(rewards, real, axis=-1)
  found = (positions >= 0) & jnp.any(real, axis=-1)
  index = jnp.where(found, positions, length)
  empty = jnp.zeros_like(values, shape=(*values.shape[:-1], length))

  def place(x):
    return jnp.put_along_axis(empty, index, x, axis=-1, inplace=False, mode='drop')

  return place(jnp.ones_like(values)), place(values)


def spo_chain(
  rewards: jax.Array,
  values: jax.Array,
  cuts: jax.Array,
  probs: jax.Array,
  mask: jax.Array,
  *,
  threshold: float = 0.9,
) -> jax.Array:
  """Every token gets the rise in value over its segment, from its cut to the next one.

  Args:
    rewards: `[...]`, where the last segment ends.
    values: `[..., T]`, read where `cuts` is 1.
    cuts: `[..., T]`, 1 on the tokens before which a value is known.
    probs: `[..., T]`, of the tokens under the policy that was sampled from.
    mask: `[..., T]`.
    threshold: tokens of a higher probability get 0.
  Returns:
    `[..., T]`; 0 before the first cut, where there is no value to compare with, and so for a
    completion without cuts. Not whitened: see `whiten_unlikely`.

  Source: arXiv 2505.23564; follows the authors' _compute_token_advantages.

  >>> values, cuts = jnp.array([[0.2, 0.0, 0.6, 0.0]]), jnp.array([[1.0, 0.0, 1.0, 0.0]])
  >>> spo_chain(jnp.array([1.0]), values, cuts, jnp.full((1, 4), 0.5), jnp.ones((1, 4)))
  Array([[0.40000004, 0.40000004, 0.39999998, 0.39999998]], dtype=float32)
  """
  chex.assert_equal_shape([values, cuts, probs, mask])
  chex.assert_shape(rewards, mask.shape[:-1])
  real = mask > 0
  cut = real & (cuts > 0)
  values = jnp.where(cut, stats.as_float(values), 0)
  position, length = _positions(mask)
  axis = mask.ndim - 1
  before = jax.lax.cummax(jnp.where(cut, position, -1), axis=axis)
  coming = jax.lax.cummin(jnp.where(cut, position, length), axis=axis, reverse=True)
  after = jnp.concatenate([coming[..., 1:], jnp.full_like(coming[..., :1], length)], axis=-1)
  start = jnp.take_along_axis(values, jnp.maximum(before, 0), axis=-1)
  end = jnp.take_along_axis(values, jnp.minimum(after, length - 1), axis=-1)
  end = jnp.where(after < length, end, stats.as_float(rewards)[..., None])
  return jnp.where(real & (before >= 0) & ~(probs > threshold), end - start, 0)


def whiten_unlikely(advantages: jax.Array, mask: jax.Array, unlikely: jax.Array) -> jax.Array:
  """`whiten` over the tokens with `unlikely` 1, or over all real ones where none is, `[..., T]`.

  Source: masked_whiten of the repository of arXiv 2505.23564.
  """
  chosen = (mask > 0) & (unlikely > 0)
  return stats.whiten(advantages, jnp.where(jnp.any(chosen), chosen, mask > 0))


def step_ids(ends: jax.Array) -> jax.Array:
  """The step of each token, int `[..., T]` from 0, where `ends` is 1 on the last token of a step.

  Tokens after the last end get the number of steps.

  >>> step_ids(jnp.array([[0, 1, 0, 0, 1, 0]]))
  Array([[0, 0, 1, 1, 1, 2]], dtype=int32)
  """
  ends = (ends > 0).astype(jnp.int32)
  return jnp.cumsum(ends, axis=-1) - ends


def to_tokens(
  values: jax.Array, step_id: jax.Array, where: jax.Array, fill: float | jax.Array = 0.0
) -> jax.Array:
  """The value of each token's step, `[..., T]`.

  Args:
    values: `[..., S]`.
    step_id: int `[..., T]`; from the number of real steps on it means the last of them.
    where: `[..., S]`, 1 on real steps; they stand first.
    fill: what a sequence without steps gets.

  >>> to_tokens(jnp.array([[3.0, 4.0, 9.0]]), jnp.array([[0, 1, 2]]), jnp.array([[1, 1, 0]]))
  Array([[3., 4., 4.]], dtype=float32)
  """
  chex.assert_equal_shape([values, where])
  steps = jnp.sum(where > 0, axis=-1, keepdims=True)
  index = jnp.clip(step_id.astype(steps.dtype), 0, jnp.maximum(steps - 1, 0))
  found = jnp.take_along_axis(stats.as_float(values), index, axis=-1)
  return jnp.where(steps > 0, found, fill)


def _positions(x):
  """Index of each entry on the last axis, and the length of that axis."""
  return jax.lax.broadcasted_iota(jnp.int32, x.shape, x.ndim - 1), x.shape[-1]
