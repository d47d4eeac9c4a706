"""RLSP: outcome rewards that also pay for effort, by length and by a judge.

All arrays have one shape, `[*N]`. `rljax.verifiers.boxed_columns` makes them from text.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def rlsp(
  correct: jax.Array,
  answered: jax.Array,
  characters: jax.Array,
  failed: jax.Array | None = None,
  *,
  length_penalty: float = 20.0,
) -> jax.Array:
  """1 for a right answer, 0 for a wrong one, -0.5 for none, less a penalty of short reasoning.

  The penalty is `length_penalty / (characters / 4)`: four characters are taken to be a token, and
  very short texts lose a lot.

  Args:
    correct: above 0 where the answer is right.
    answered: above 0 where there is a boxed answer.
    characters: of the reasoning before the answer; of the whole text where there is no answer.
    failed: above 0 where judging raised an exception; None means nowhere.
    length_penalty: the published figures use 0 and 1000; 20 is the default of the code's argument.
  Returns:
    The shape of `correct`; 0 where judging failed, and for an empty text if lengths are penalised.

  Source: arXiv 2502.06773; follows the authors' orm_server_efficient.py.

  >>> columns = jnp.array([1.0, 0.0, 0.0]), jnp.array([1.0, 1.0, 0.0]), jnp.full(3, 400.0)
  >>> rlsp(*columns, length_penalty=10.0)
  Array([ 0.9, -0.1, -0.6], dtype=float32)
  """
  reward, judged = _outcome(correct, answered, characters, failed, length_penalty)
  return jnp.where(judged, reward, 0)


def rlsp_judged(
  correct: jax.Array,
  answered: jax.Array,
  characters: jax.Array,
  judgement: jax.Array,
  failed: jax.Array | None = None,
  *,
  length_penalty: float = 20.0,
  judge_weight: float = 0.2,
) -> jax.Array:
  """`rlsp`, mixed with how well a judge finds the exploration.

  `(1 - judge_weight) rlsp + judge_weight judgement`.

  Args:
    correct: above 0 where the answer is right.
    answered: above 0 where there is a boxed answer.
    characters: as in `rlsp`.
    judgement: in [0, 1]; below 0 or NaN where the judge failed, which counts as 0.5.
    failed: above 0 where judging the answer raised an exception.
    length_penalty: as in `rlsp`.
    judge_weight: a parameter in the paper; 0.2 in the code.
  Returns:
    The shape of `correct`; 0 where `rlsp` is 0 for a failure or an empty text.

  Source: arXiv 2502.06773; follows the authors' orm_server_efficient.py.
  """
  chex.assert_equal_shape([correct, judgement])
  reward, judged = _outcome(correct, answered, characters, failed, length_penalty)
  judgement = stats.as_float(judgement)
  opinion = jnp.where(judgement >= 0, judgement, 0.5)
  return jnp.where(judged, (1 - judge_weight) * reward + judge_weight * opinion, 0)


def _outcome(correct, answered, characters, failed, length_penalty):
  """The reward before any judge, and where judging went through."""
  failed = jnp.zeros_like(correct) if failed is None else failed
  chex.assert_equal_shape([correct, answered, characters, failed])
  judged = ~(failed > 0)
  reward = jnp.where(answered > 0, (correct > 0).astype(stats.as_float(correct).dtype), -0.5)
  if length_penalty:
    characters = stats.as_float(characters)
    judged = judged & (characters > 0)  # the source divides by 0 there and catches it
    reward = reward - length_penalty / (jnp.maximum(characters, 1) / 4)
  return reward, judged
