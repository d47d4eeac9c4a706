"""SEELE."""

from __future__ import annotations

import jax.numpy as jnp

from rljax import aggregation
from rljax.methods.combinators import plus
from rljax.methods.grpo import dr_grpo
from rljax.methods.reading import extra
from rljax.methods.terms import kl_to_reference
from rljax.types import Method, Term


def seele(
  *,
  max_length: int,
  hint_coef: float = 1e-3,
  kl_coef: float = 1e-3,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
) -> Method:
  """Dr. GRPO on what was generated after a hint, and imitation of the hint.

  Reads `batch.ref_logp` and `batch.extras['hint_mask']`, `[*N, T]`: completions begin with their
  hint, `mask` is 1 on its tokens as on the generated ones, and `hint_mask` is 1 on those of the
  hint only. `prepare` takes them out of `mask`, so no policy loss, KL penalty or length sees them.
  The rounds of one prompt, with their different hints, are one group; how long hints are is
  `curricula.seele_rate`'s part.

  Args:
    max_length: the run's longest completion, in tokens.
    hint_coef: weight of the imitation, the paper's gamma.
    kl_coef: weight of the KL penalty (k3).
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.

  Source: arXiv 2509.06923, equations 2 and 10. Equation 10 prints the probability of the hint where
    the text says supervised loss; this is the mean negative log-likelihood of a hint's token.
  """
  base = dr_grpo(max_length=max_length, clip_low=clip_low, clip_high=clip_high)

  def prepare(state, batch):
    hint = extra(batch, 'hint_mask', '[*N, T], 1 on the tokens of the hint')
    given = (batch.mask > 0) & (hint > 0)
    generated = jnp.where(given, jnp.zeros_like(batch.mask), batch.mask)
    extras = {**batch.extras, 'hint_mask': given.astype(batch.mask.dtype)}
    return base.prepare(state, batch.replace(mask=generated, extras=extras))

  def imitation(scores, batch):
    return -jnp.where(batch.extras['hint_mask'] > 0, scores.logp, 0.0)

  def of_hints(batch):
    return aggregation.token_mean(batch.replace(mask=batch.extras['hint_mask']))

  return plus(
    base._replace(prepare=prepare, needs=('hint_mask',)),
    hint=Term(imitation, of_hints, hint_coef),
    kl=kl_to_reference(aggregation.constant(max_length), kl_coef),
  )
