"""SPAE."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import advantages, aggregation
from rljax.groups import per_group
from rljax.methods.combinators import stateless
from rljax.methods.reading import extra, tokens
from rljax.methods.terms import policy_terms, token_ratio
from rljax.types import Method


def spae(
  *,
  alpha: float = 0.5,
  xi: float = 0.5,
  threshold: float = 0.9,
  clip_low: float = 0.2,
  clip_high: float = 0.28,
) -> Method:
  """Step potential advantage estimation: probes after each step say how near the solution is.

  Reads `batch.extras`: `potentials` `[*N, S]` of the steps of each completion
  (`advantages.step_potential` of the probes), `num_steps` `[*N]`, how many of them are real, and
  `step_id` `[*N, T]`, the step of each token (`advantages.step_ids`). Statistics of the batch are
  of kept sequences. Groups of equal rewards are trained on their potentials; leave them out with
  `with_keep(lambda batch: per_group(selection.mixed, batch)(batch.extras['correct']), spae())`.

  Args:
    alpha: share of the outcome's credit that fades once the solution is there.
    xi: weight of the potential's rises.
    threshold: potential at which a solution is there.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.

  Source: arXiv 2601.03823, on top of DAPO's loss; `advantages.spae` says what is a reconstruction.
  """

  def prepare(batch):
    potentials = extra(batch, 'potentials', 'the potential after each step, [*N, S]')
    count = extra(batch, 'num_steps', 'the number of steps of each completion, [*N]')
    step_id = extra(batch, 'step_id', 'the step of each token, [*N, T]')
    place = jax.lax.broadcasted_iota(jnp.int32, potentials.shape, potentials.ndim - 1)
    found = advantages.spae(
      per_group(advantages.center, batch)(batch.rewards),
      potentials,
      place < count[..., None],
      step_id,
      tokens(batch),
      alpha=alpha,
      xi=xi,
      threshold=threshold,
    )
    return batch.replace(advantages=found)

  method = stateless(
    prepare, **policy_terms(token_ratio, clip_low, clip_high, aggregation.token_mean)
  )
  return method._replace(needs=('potentials',))  # which come with their steps
