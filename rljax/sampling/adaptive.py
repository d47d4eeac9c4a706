"""Temperatures that depend on the distribution they are applied to."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import token_weights
from rljax.sampling.processors import Processor


def tempered_by_entropy(
  logits: jax.Array,
  statistics: token_weights.EntropyStatistics,
  *,
  temperature: float = 1.0,
  tau: float = 0.05,
) -> jax.Array:
  """Logits over `token_weights.adaptive_temperature` of their own entropy, `[..., V]`.

  Args:
    logits: `[..., V]`, before any other temperature.
    statistics: of the previous batch: the state of `methods.hapo`.
    temperature: where the entropy is at the quantile.
    tau: the largest relative change.

  Source: HAPO, arXiv 2509.16591.
  """
  logp = jax.nn.log_softmax(logits, axis=-1)
  entropy = -jnp.sum(jnp.where(jnp.isneginf(logp), 0.0, jnp.exp(logp) * logp), axis=-1)
  at = token_weights.adaptive_temperature(entropy, statistics, temperature=temperature, tau=tau)
  return logits / at[..., None]


def by_entropy(
  statistics: token_weights.EntropyStatistics, *, temperature: float = 1.0, tau: float = 0.05
) -> Processor:
  """A processor that draws at HAPO's temperature; leave the sampler's own out.

  The statistics may be traced, so that one compiled sampler serves every batch. What is drawn has
  the log-probability of the tempered distribution, which a scorer of one temperature does not know.

  Args:
    statistics: as in `tempered_by_entropy`, like the others.
    temperature: where the entropy is at the quantile.
    tau: the largest relative change.

  Source: HAPO, arXiv 2509.16591.
  """
  return Processor(
    init=lambda: statistics,
    update=lambda state, token: state,
    logits=lambda state, logits: tempered_by_entropy(
      logits, state, temperature=temperature, tau=tau
    ),
  )
