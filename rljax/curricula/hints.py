"""Help for a prompt that nobody solves: the beginning of a known solution.

The loop puts the hint into the prompt and samples; what is decided here is how long it is.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def hint_length(lengths: jax.Array, ratio: jax.Array) -> jax.Array:
  """Length of a hint that is a share of a solution, int32: `round(ratio * length)`, halves to even.

  Args:
    lengths: lengths of the solutions, any shape; GHPO counts characters, SEELE tokens.
    ratio: in [0, 1], the same shape, or `[]`.
  Returns:
    The shape of `lengths`.

  Source: GHPO, arXiv 2507.10628; SEELE, arXiv 2509.06923.

  >>> hint_length(jnp.array([10, 12, 0]), jnp.array([0.25, 0.5, 0.75]))
  Array([2, 6, 0], dtype=int32)
  """
  ratio = jnp.broadcast_to(ratio, lengths.shape)
  return jnp.round(stats.as_float(lengths) * stats.as_float(ratio)).astype(jnp.int32)


def ghpo_stage(
  stage: jax.Array, correct: jax.Array, where: jax.Array | None = None, *, last: int = 3
) -> jax.Array:
  """The next stage of help for each prompt: one more where its whole group failed, else the same.

  A prompt whose stage changes is asked again with `stage / 4` of its solution (the ratios 0, 0.25,
  0.5, 0.75 of stages 0 to 3); all others keep their group, and the group of the last stage is
  trained on whatever it is. Every training step starts from stage 0.

  Args:
    stage: int `[P]`, of the group that was just judged.
    correct: `[P, G]`, the accuracy reward without that of the format; above 0 where right.
    where: `[P, G]`, 1 on real members; a group without one stays.
    last: the last stage.
  Returns:
    int `[P]`.

  Source: GHPO, arXiv 2507.10628; follows the authors' _generate_and_score_completions.

  >>> ghpo_stage(jnp.array([0, 0, 3]), jnp.array([[0.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))
  Array([1, 0, 3], dtype=int32)
  """
  chex.assert_rank([stage, correct], [1, 2])
  real = stats.is_real(correct, where)
  failed = jnp.any(real, axis=-1) & ~jnp.any(real & (correct > 0), axis=-1)
  return jnp.where(failed & (stage < last), stage + 1, stage)
