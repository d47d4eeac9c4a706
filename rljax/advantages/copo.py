"""COPO: prompts compared with each other, and how far the answers of a prompt agree.

The last axis is the group; in functions that compare groups all leading axes together are the
batch. `answers [..., G]` are ids of the final answers, equal where the answers are; which id stands
for which answer does not matter.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats
from rljax.advantages._members import group_mean, members


def answer_entropy(answers: jax.Array, where: jax.Array | None = None) -> jax.Array:
  """Entropy in bits of the answers of a group, at each of its members, `[..., G]`.

  It is 0 where all agree and `log2(G)` where all differ; wrong answers count like right ones.

  Source: arXiv 2508.04138; the 1e-8 in the logarithm is that of the authors' compute_score_global.

  >>> answer_entropy(jnp.array([[7, 7, 3, 3]]))
  Array([[1., 1., 1., 1.]], dtype=float32)
  """
  chex.assert_shape(answers, (..., None, None))
  real = jnp.ones_like(answers, bool) if where is None else stats.is_real(answers, where)
  pairs = (answers[..., :, None] == answers[..., None, :]) & real[..., :, None] & real[..., None, :]
  n = jnp.maximum(jnp.sum(real, axis=-1, keepdims=True), 1)
  share = jnp.sum(pairs, axis=-1) / n
  # Summed over members, an answer counts as often as it was given: 1/n each makes that its share.
  bits = jnp.where(real, -jnp.log2(jnp.where(real, share, 1) + 1e-8), 0)
  return jnp.where(real, jnp.sum(bits, axis=-1, keepdims=True) / n, 0)


def success_rate(
  rewards: jax.Array, answers: jax.Array | None = None, where: jax.Array | None = None
) -> jax.Array:
  """Mean reward of the group at each of its members, `[..., G]`; `answers` are not read."""
  del answers
  rewards, real = members(rewards, where)
  return jnp.where(real, group_mean(rewards, real), 0)


def consistent_success_rate(
  rewards: jax.Array, answers: jax.Array, where: jax.Array | None = None
) -> jax.Array:
  """`success_rate` times `1 - (1 - 1/G) / log2(G) * entropy`, `[..., G]`.

  The factor is 1 where all answers agree (and in a group of one) and 1/G where all differ.

  Source: arXiv 2508.04138 and the coefficient of the authors' compute_score_global, which their
  scripts leave off.
  """
  chex.assert_equal_shape([rewards, answers])
  _, real = members(rewards, where)
  n = jnp.sum(real, axis=-1, keepdims=True)
  several = n > 1
  slope = (1 - 1 / jnp.maximum(n, 1)) / jnp.where(several, jnp.log2(jnp.maximum(n, 2)), 1)
  factor = jnp.where(several, 1 - slope * answer_entropy(answers, where), 1)
  return success_rate(rewards, None, where) * factor


def between_groups(
  scores: jax.Array, where: jax.Array | None = None, *, eps: float = 1e-6, ddof: int = 1
) -> jax.Array:
  """A score of each group, standardised over the groups of the batch: COPO's global advantage.

  Args:
    scores: `[..., G]`, the same for all members of a group.
    where: `[..., G]`, 1 on real members; a group without any does not count.
    eps: added to the deviation.
    ddof: 1 divides the squared deviations by the groups less one.
  Returns:
    `[..., G]`. One group, or equal scores: exactly 0.

  Source: arXiv 2508.04138; follows the authors' compute_grpo_outcome_advantage_with_global, which
  gives NaN for one group.

  >>> between_groups(jnp.array([[1.0, 1.0], [0.0, 0.0]]), eps=0.0)
  Array([[ 0.70710677,  0.70710677],
         [-0.70710677, -0.70710677]], dtype=float32)
  """
  scores, real = members(scores, where)
  group, counted = group_mean(scores, real), jnp.any(real, axis=-1, keepdims=True)
  scale = stats.std(group, counted, ddof=ddof) + eps
  spread = ~stats.is_constant(group, counted, axis=None, keepdims=False)
  found = (group - stats.mean(group, counted)) / jnp.where(scale > 0, scale, 1)
  return jnp.where(real & spread, found, 0)


def local_weight(
  rewards: jax.Array, entropy: jax.Array, *, k: float = 5.0, b: float = 1.0
) -> jax.Array:
  """How much of COPO's loss compares within the group, `sigmoid(k (entropy - b))`, any shape.

  The rest compares between groups: all of it where the reward is 0, most of it where the answers of
  a group agree.

  Args:
    rewards: `[...]`.
    entropy: `[...]`, of the group's answers in bits.
    k: steepness.
    b: entropy at which both count alike.

  Source: arXiv 2508.04138; k, b and the rule for reward 0 ("soft-with-zero") of the authors'
  run_copo.sh.

  >>> local_weight(jnp.array([1.0, 0.0]), jnp.array([1.0, 1.0]))
  Array([0.5, 0. ], dtype=float32)
  """
  chex.assert_equal_shape([rewards, entropy])
  return jnp.where(rewards != 0, jax.nn.sigmoid(k * (stats.as_float(entropy) - b)), 0)
