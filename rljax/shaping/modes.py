"""A^2FM: less reward for effort where an answer at once would do."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats

INSTANT, REASONING, AGENTIC = 0, 1, 2


def a2fm(
  correct: jax.Array,
  modes: jax.Array,
  instant_accuracy: jax.Array,
  formatted: jax.Array | None = None,
  *,
  alpha: float = 2.0,
  tau: float = 1 / 3,
) -> jax.Array:
  """1 for a right answer, less where another mode than `INSTANT` gave it to an easy prompt.

  A prompt is easy if its forced instant responses are right more often than `tau`; the reward is
  then `1 - instant_accuracy**alpha`.

  Args:
    correct: any shape, above 0 where the answer is right.
    modes: the same shape, `INSTANT`, `REASONING` or `AGENTIC`.
    instant_accuracy: the same shape, accuracy of the prompt's forced instant responses.
    formatted: the same shape, above 0 where the format is right; None means everywhere.
    alpha: how fast the reward falls with the accuracy.
    tau: accuracy that an easy prompt exceeds.
  Returns:
    The same shape, in [0, 1]. Where instant responses are always right others earn 0.

  Source: arXiv 2510.12838. A reconstruction from its reviews, which name `alpha` 2, an easiness
  threshold and a product with the format; how they combine, and `tau`, are assumed.

  >>> a2fm(jnp.ones(3), jnp.array([INSTANT, REASONING, AGENTIC]), jnp.array([0.5, 0.5, 0.25]))
  Array([1.  , 0.75, 1.  ], dtype=float32)
  """
  formatted = jnp.ones_like(correct) if formatted is None else formatted
  chex.assert_equal_shape([correct, modes, instant_accuracy, formatted])
  accuracy = stats.as_float(instant_accuracy)
  easy = (accuracy > tau) & (modes != INSTANT)
  reward = jnp.where(easy, 1 - accuracy**alpha, 1)
  return jnp.where((correct > 0) & (formatted > 0), reward, 0)
