"""DLER."""

from __future__ import annotations

from collections.abc import Callable

import jax

from rljax import advantages, aggregation, selection, shaping
from rljax.groups import per_group
from rljax.methods.combinators import stateless
from rljax.methods.reading import correct, kept, tokens
from rljax.methods.terms import policy_terms, token_ratio
from rljax.types import Method


def dler(
  *,
  clip_low: float = 0.2,
  clip_high: float = 0.28,
  normalise: Callable[[jax.Array, jax.Array], jax.Array] = advantages.whiten_tokens,
) -> Method:
  """Doing length penalty right: truncation is the only one, and the scale is that of the batch.

  A truncated completion has reward 0. Prompts that are then all right or all wrong are left out;
  drawing new ones in their place is the loop's part. What remains is centred in its group and
  standardised over the batch. The selection reads correctness (`extras['correct']`, else the
  rewards), of which truncation takes as much.

  Args:
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.
    normalise: `(centred [*N], tokens [*N, T]) -> [*N, T]`: `advantages.whiten_tokens`, or
      `advantages.whiten_sequences` to count each sequence once.
  Raises:
    ValueError: while tracing, if `batch.truncated` is None.

  Source: arXiv 2510.15110, equations 1 to 3. Equation 3 does not say what it averages over; its
  indices are read as tokens. A completion is as long as the sampler lets it be (4000 tokens there).
  """

  def prepare(batch):
    if batch.truncated is None:
      raise ValueError(
        'DLER reads batch.truncated, which is None. Pass on what the sampler returned.'
      )
    right = shaping.zero_truncated(correct(batch), batch.truncated)
    batch = batch.replace(
      rewards=shaping.zero_truncated(batch.rewards, batch.truncated),
      keep=kept(batch) * per_group(selection.mixed, batch)(right),
    )
    centred = per_group(advantages.center, batch)(batch.rewards)
    return batch.replace(advantages=normalise(centred, tokens(batch)))

  return stateless(
    prepare, **policy_terms(token_ratio, clip_low, clip_high, aggregation.token_mean)
  )
