"""LASER and LASER-D: a bonus for right answers that keep to a target length.

LASER-D has a target for each of three kinds of prompts, by the share of right answers: up to a
third, up to two thirds, and above. `targets [3]` are in this order.
"""

from __future__ import annotations

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp

from rljax import stats
from rljax.controllers import Controller


def laser(
  correct: jax.Array, lengths: jax.Array, *, target: float | jax.Array, alpha: float = 0.5
) -> jax.Array:
  """1 for a right answer and `alpha` more for one of at most `target` tokens, any shape.

  Args:
    correct: above 0 where the answer is right.
    lengths: the same shape, in tokens.
    target: a number, or the shape of the others.
    alpha: the bonus.

  Source: arXiv 2505.15612; the authors' runs have targets of 2048 to 8192.

  >>> laser(jnp.array([1.0, 1.0, 0.0]), jnp.array([8, 9, 1]), target=8)
  Array([1.5, 1. , 0. ], dtype=float32)
  """
  lengths = stats.as_float(lengths)
  chex.assert_equal_shape([correct, lengths])
  return jnp.where(correct > 0, 1 + alpha * (lengths <= target).astype(lengths.dtype), 0)


def laser_d(
  correct: jax.Array,
  lengths: jax.Array,
  targets: jax.Array,
  where: jax.Array | None = None,
  *,
  alpha: float = 0.5,
) -> jax.Array:
  """`laser` with the target of each prompt's own kind.

  Args:
    correct: `[..., G]`, above 0 where the answer is right; the last axis is the group.
    lengths: `[..., G]`, in tokens.
    targets: `[3]`, from `laser_targets`; a share of exactly a third has the second, of exactly two
      thirds the third.
    where: `[..., G]`, 1 on real members; None means all.
    alpha: the bonus.
  Returns:
    `[..., G]`.

  Source: arXiv 2505.15612; follows the authors' compute_length_reward_larse_d.
  """
  chex.assert_shape(correct, (..., None, None))
  chex.assert_shape(targets, (3,))
  real = stats.is_real(correct, where)
  right, members = _counts(correct, real)
  target = _choose(3 * right >= members, 3 * right >= 2 * members, targets)
  found = laser(correct, lengths, target=jnp.broadcast_to(target, real.shape), alpha=alpha)
  return jnp.where(real, found, 0)


def laser_targets(
  correct: jax.Array,
  lengths: jax.Array,
  candidates: jax.Array,
  where: jax.Array | None = None,
  *,
  samples: int = 8,
  expected: int = 1,
) -> jax.Array:
  """The shortest length of some at which each kind of prompt still has a right answer, `[3]`.

  A prompt of a kind has at least 1, `samples // 3` or `2 samples // 3` right answers among
  `samples`; times the share of responses of that kind that are no longer than the target, this
  must come to `expected`.

  Args:
    correct: `[..., G]` on prompts that are held out, above 0 where the answer is right.
    lengths: `[..., G]`, in tokens.
    candidates: `[L]` lengths in any order.
    where: `[..., G]`, 1 on real members; None means all.
    samples: responses to a prompt in training.
    expected: right answers that must remain.
  Returns:
    `[3]`; infinite where no candidate is long enough, or no prompt is of the kind. Here a share of
    exactly a third is of the first kind, of two thirds of the second.

  Source: arXiv 2505.15612; follows the authors' _choose_target_length, whose candidates are 1024
  tokens apart up to the longest completion.
  """
  chex.assert_shape(correct, (..., None, None))
  chex.assert_equal_shape([correct, lengths])
  chex.assert_rank(candidates, 1)
  real = stats.is_real(correct, where)
  right, members = _counts(correct, real)
  kind = _choose(3 * right > members, 3 * right > 2 * members, jnp.arange(3))
  kind = jnp.where(real, kind, -1).reshape(1, -1)
  mine = kind == jnp.arange(3)[:, None]  # [3, responses]
  short = lengths.reshape(1, -1) <= candidates[:, None]  # [L, responses]
  covered = jnp.sum(mine[:, None] & short[None], axis=-1)
  total = jnp.sum(mine, axis=-1, keepdims=True)
  least = jnp.array([1, samples // 3, 2 * samples // 3])[:, None]
  # In whole numbers, so that no share is rounded.
  enough = (covered * least >= expected * total) & (total > 0)
  options = jnp.broadcast_to(stats.as_float(candidates), enough.shape)
  return jnp.min(options, axis=-1, initial=jnp.inf, where=enough)


def laser_monitor(
  candidates: Sequence[float], *, initial: float, samples: int = 8, expected: int = 1
) -> Controller:
  """The targets of `laser_d`: state is the targets in use, `[3]`.

  The observation is (correct, lengths), `[M, G]` each, of responses to prompts that are held out
  (every 20 steps, on 500 prompts in the source); the value `laser_targets`.

  Args:
    candidates: lengths, in tokens.
    initial: all targets before the first observation.
    samples: responses to a prompt in training.
    expected: right answers that must remain.

  Source: arXiv 2505.15612.
  """

  def update(targets, observation):
    found = laser_targets(
      *observation, jnp.asarray(candidates, targets.dtype), samples=samples, expected=expected
    ).astype(targets.dtype)
    return found, found

  return Controller(lambda: jnp.full((3,), float(initial)), update)


def _counts(correct, real):
  """Right answers and members of each group, `[..., 1]`."""
  right = jnp.sum(real & (correct > 0), axis=-1, keepdims=True)
  return right, jnp.sum(real, axis=-1, keepdims=True)


def _choose(second, third, values):
  return jnp.where(third, values[2], jnp.where(second, values[1], values[0]))
