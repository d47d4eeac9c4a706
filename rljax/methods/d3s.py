"""D3S."""

from __future__ import annotations

import jax.numpy as jnp

from rljax import advantages, aggregation, selection, stats, token_weights
from rljax.groups import per_group
from rljax.methods.reading import old_entropy, tokens
from rljax.methods.terms import policy_terms, token_ratio
from rljax.types import Method


def d3s(
  *,
  samples_init: int,
  samples_final: int,
  tokens_init: float,
  tokens_final: float,
  steps: int,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
) -> Method:
  """Dynamic dual-level down-sampling: GRPO on the completions whose advantages have the largest
  variance, and of these on the tokens with the largest `|A| * entropy`.

  Advantages are those of the full groups. It reads `batch.extras['old_entropy']`; the state counts
  rollout batches. Completions of equal advantages are taken in order of place.

  Args:
    samples_init: completions of the first batch to train on, over all prompts.
    samples_final: completions of a batch after `steps` of them; in between linear, rounded up.
    tokens_init: share of their tokens, in the first batch.
    tokens_final: share after `steps` batches.
    steps: rollout batches over which the schedule runs.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.

  Source: arXiv 2509.22115. The paper's rounding, its numbers and whether the mean divides by the
  tokens that are left, as here, are not known to us: in these a reconstruction.
  """

  def prepare(state, batch):
    progress = jnp.minimum(state / steps, 1.0)
    size = (1 - progress) * samples_init + progress * samples_final
    share = (1 - progress) * tokens_init + progress * tokens_final
    values = per_group(advantages.grpo, batch)(batch.rewards)
    choice = jnp.max(tokens(batch), axis=-1)
    size = jnp.ceil(stats.snap(size)).astype(jnp.int32)
    batch = batch.replace(
      advantages=values[..., None], keep=selection.max_variance(values, choice, size=size)
    )
    scores = jnp.abs(batch.advantages) * old_entropy(batch)
    chosen = token_weights.top_share(scores, tokens(batch), share=share)
    return state + 1, batch.replace(extras={**batch.extras, 'chosen_tokens': chosen})

  def weights(batch):
    return aggregation.token_mean(batch.replace(mask=batch.mask * batch.extras['chosen_tokens']))

  return Method(
    init=lambda: jnp.zeros((), jnp.int32),
    prepare=prepare,
    terms=policy_terms(token_ratio, clip_low, clip_high, weights),
    reads=('entropy',),
  )
