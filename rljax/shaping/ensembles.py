"""One reward from several reward models, against over-optimising any of them.

`scores` are `[K, *N]`, one row for each model; the result is `[*N]`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import stats


def ensemble_mean(scores: jax.Array) -> jax.Array:
  """The models' mean, `[*N]`.

  Source: arXiv 2310.02743.
  """
  return stats.mean(scores, axis=0)


def ensemble_worst(scores: jax.Array) -> jax.Array:
  """Worst-case optimisation: the least score that any model gives, `[*N]`.

  Source: arXiv 2310.02743.
  """
  return jnp.min(stats.as_float(scores), axis=0)


def ensemble_uncertain(scores: jax.Array, *, lam: float = 0.1, ddof: int = 0) -> jax.Array:
  """Uncertainty-weighted optimisation: the mean less `lam` times the models' variance, `[*N]`.

  Args:
    scores: `[K, *N]`.
    lam: weight of the variance; the source has 0.1 in PPO and 0.5 in best-of-n sampling.
    ddof: 1 for the unbiased variance.
  Returns:
    `[*N]`; the score itself for one model.

  Source: arXiv 2310.02743, whose code has ddof 0 in bon/ensemble_rm.py and 1 in PPO, where one
  model has no variance.

  >>> ensemble_uncertain(jnp.array([[1.0, 2.0], [3.0, 2.0]]), lam=0.5)
  Array([1.5, 2. ], dtype=float32)
  """
  return stats.mean(scores, axis=0) - lam * stats.variance(scores, axis=0, ddof=ddof)
