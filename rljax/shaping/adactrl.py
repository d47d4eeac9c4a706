"""AdaCtrl: rewards for naming a problem's difficulty, and for lengths that go with it.

The last axis is the group. `tags` is what each response says of its problem: `EASY`, `HARD`, or
anything else for no tag; `rljax.verifiers.difficulty_tag` reads it from text.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats

EASY, HARD, MISSING = 0, 1, 2


def adactrl(
  correct: jax.Array,
  lengths: jax.Array,
  tags: jax.Array,
  where: jax.Array | None = None,
  *,
  delta: float = 0.625,
  format_weight: float = 0.5,
  length_weight: float = 0.5,
) -> jax.Array:
  """1 or -1 for the answer, plus what the tag and the length earn.

  A prompt is easy if more than `delta` of its answers are right, else hard. The tag earns 1 if it
  says so, 0 if it says the opposite and -1 if there is none. A response with the right tag also
  earns `1 - h` on an easy prompt and `h` on a hard one, where h grows from 0 to 1 as half a cosine
  up to the longest response of the group.

  Args:
    correct: `[..., G]`, above 0 where the answer is right.
    lengths: `[..., G]`, in tokens.
    tags: `[..., G]`, `EASY`, `HARD` or `MISSING`.
    where: `[..., G]`, 1 on real members; None means all.
    delta: share of right answers that an easy prompt exceeds.
    format_weight: weight of the tag.
    length_weight: weight of the length.
  Returns:
    `[..., G]`. Equal lengths count as longest: 0 on an easy prompt, 1 on a hard one.

  Source: arXiv 2505.18822; follows the authors' native_multi_threads.py, which pays only the right
  tag for its length, and hard prompts for long responses, as the paper does not (`adactrl_paper`).

  >>> correct, lengths = jnp.ones((1, 3)), jnp.array([[10.0, 20.0, 20.0]])
  >>> adactrl(correct, lengths, jnp.array([[EASY, EASY, MISSING]]))
  Array([[1.75, 1.5 , 0.5 ]], dtype=float32)
  """
  label, answer, progress, real = _parts(correct, lengths, tags, where, delta)
  earned = jnp.where(label == EASY, 1 - progress, progress)
  length = jnp.where(tags == label, earned, 0)
  reward = answer + format_weight * _format(tags, label, answer) + length_weight * length
  return jnp.where(real, reward, 0)


def adactrl_paper(
  correct: jax.Array,
  lengths: jax.Array,
  tags: jax.Array,
  where: jax.Array | None = None,
  *,
  delta: float = 0.625,
  format_weight: float = 0.5,
  length_weight: float = 0.5,
) -> jax.Array:
  """`adactrl` with the paper's length reward: `1 - h` for every response that says easy, else 0.

  Args as there.

  Source: arXiv 2505.18822.
  """
  label, answer, progress, real = _parts(correct, lengths, tags, where, delta)
  length = jnp.where(tags == EASY, 1 - progress, 0)
  reward = answer + format_weight * _format(tags, label, answer) + length_weight * length
  return jnp.where(real, reward, 0)


def _parts(correct, lengths, tags, where, delta):
  """Label of each prompt `[..., 1]`, 1 or -1 for the answer, h, and who is real."""
  chex.assert_shape(correct, (..., None, None))
  chex.assert_equal_shape([correct, lengths, tags])
  real = stats.is_real(correct, where)
  right = real & (correct > 0)
  lengths = jnp.where(real, stats.as_float(lengths), 0)
  members = jnp.sum(real, axis=-1, keepdims=True).astype(lengths.dtype)
  easy = jnp.sum(right, axis=-1, keepdims=True) > stats.snap(delta * members)
  longest = jnp.max(lengths, axis=-1, keepdims=True)
  share = lengths / jnp.where(longest > 0, longest, 1)
  # The whole cosine would lose what short responses differ by.
  progress = jnp.sin(jnp.pi / 2 * share) ** 2
  answer = jnp.where(right, jnp.ones_like(lengths), -1)
  return jnp.where(easy, EASY, HARD), answer, progress, real


def _format(tags, label, like):
  named = (tags == EASY) | (tags == HARD)
  return jnp.where(named, (tags == label).astype(like.dtype), -1)
