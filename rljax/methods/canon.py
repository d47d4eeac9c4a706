"""CANON."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from rljax import advantages, aggregation, stats
from rljax.groups import per_group
from rljax.methods.reading import extra
from rljax.methods.terms import policy_terms, token_ratio
from rljax.types import Batch, Method

Metric = Callable[[Batch], jax.Array]
Mu = float | Callable[[jax.Array, Batch], jax.Array]


def canon(
  *,
  max_length: int,
  metric: str | Metric = 'entropy',
  mu: Mu = 1.0,
  alpha_high: float = 1.0,
  alpha_low: float = 1.0,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
) -> Method:
  """Conditional advantage estimation: the group's halves by a metric, compared with each other.

  Sums over tokens are divided by a constant length, as in Dr. GRPO. The state counts the batches.

  Args:
    max_length: the run's longest completion, in tokens; 8192 in the authors' code.
    metric: 'entropy', the mean over a completion's tokens of `extras['old_entropy']` `[*N, T]`,
      that of the policy before the update; 'length'; or `batch -> [*N]`.
    mu: share of the comparison between the halves, the rest is within them; a number, or
      `(step from 0, batch) -> []`, such as `lambda step, batch: advantages.cosine_mu(step)` or
      `lambda step, batch: batch.rewards.mean()` (first within, later between) and 1 less that.
    alpha_high: discount of the rewards of the half with the higher metric: below 1 the longer
      half's, by length.
    alpha_low: discount of the rewards of the other half: the less uncertain one's, by entropy.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.

  Raises:
    ValueError: `metric` is another word.

  Source: arXiv 2509.23962; follows the authors' core_algos.py.
  """
  if not callable(metric) and metric not in _METRICS:
    raise ValueError(f'metric is {", ".join(map(repr, _METRICS))} or a function, not {metric!r}.')
  measured = metric if callable(metric) else _METRICS[metric]

  def prepare(step, batch):
    share = mu(step, batch) if callable(mu) else mu
    estimate = partial(advantages.canon, mu=share, alpha_high=alpha_high, alpha_low=alpha_low)
    found = per_group(estimate, batch)(batch.rewards, measured(batch))
    return step + 1, batch.replace(advantages=found[..., None])

  terms = policy_terms(token_ratio, clip_low, clip_high, aggregation.constant(max_length))
  reads = ('entropy',) if metric == 'entropy' else ()
  return Method(init=lambda: jnp.zeros((), jnp.int32), prepare=prepare, terms=terms, reads=reads)


def _length(batch):
  return batch.lengths


def _entropy(batch):
  entropy = extra(batch, 'old_entropy', "the entropy of the policy's next-token distributions")
  return stats.mean(entropy, batch.mask, axis=-1)


_METRICS = {'entropy': _entropy, 'length': _length}
