"""GRAO."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from rljax import advantages, aggregation, surrogates
from rljax.groups import per_group
from rljax.methods.combinators import stateless
from rljax.methods.reading import extra, tokens, trained
from rljax.types import Method, Term


def grao(
  *,
  beta: float = 0.5,
  pairwise: float = 0.6,
  estimate: Callable[..., jax.Array] = advantages.grao,
) -> Method:
  """Group relative alignment: samples by their advantages, a reference answer imitated, and every
  sample compared with it; on mean log-probabilities, without ratio and clip.

  The reference answer is one more completion of its prompt's group, with its own reward, and 1 in
  `batch.extras['reference']` (`[*N]`, 0 on samples). A sample that is not kept has no part in the
  mean over samples; its reward stays in the statistics.

  Args:
    beta: weight of imitating the reference, times its advantage.
    pairwise: weight of the pairwise term.
    estimate: `(rewards, reference, where) -> [..., G]`. With `advantages.grao`, the paper's text,
      the pairwise term only scales the first; with `advantages.grao_joint` it acts on the
      reference.

  Source: arXiv 2508.07750, equations 2 to 4; how groups of equal rewards are treated is not said
  there.
  """

  def weigh(values, reference, counted, where=None):
    counted = counted if where is None else counted * where
    return advantages.grao_weights(values, reference, counted, beta=beta, pairwise=pairwise)

  def prepare(batch):
    reference = extra(batch, 'reference', '1 on reference answers and 0 on samples')
    values = per_group(estimate, batch)(batch.rewards, reference)
    counted = jnp.max(tokens(batch), axis=-1)
    weights = per_group(weigh, batch)(values, reference, counted)
    return batch.replace(advantages=weights[..., None])

  def value(scores, batch):
    return surrogates.reinforce(trained(scores.logp, batch), batch.advantages)

  method = stateless(prepare, policy=Term(value, _sequence_means_by_prompt))
  return method._replace(needs=('reference',))


def _sequence_means_by_prompt(batch):
  """Mean over the tokens of each sequence, sum over a group, mean over prompts, `[*N, T]`."""
  means = aggregation.sequence_mean(batch)
  counted = jnp.any(means > 0, axis=-1).astype(means.dtype)
  prompts = per_group(_prompts, batch)(counted)
  return means * jnp.sum(counted) / jnp.maximum(prompts, 1)[..., None]


def _prompts(counted, where=None):
  """Number of groups of which somebody counts, for each member."""
  del where  # who is not real does not count
  return jnp.full_like(counted, 1) * jnp.sum(jnp.any(counted > 0, axis=-1))
