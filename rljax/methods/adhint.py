"""ADHint."""

from __future__ import annotations

from functools import partial

from rljax import advantages, aggregation, token_weights
from rljax.groups import per_group
from rljax.methods.combinators import stateless
from rljax.methods.reading import extra
from rljax.methods.terms import policy_terms, token_ratio
from rljax.types import Method


def adhint(
  *, clip_low: float = 0.2, clip_high: float = 0.2, eps: float = 1e-6, ddof: int = 1
) -> Method:
  """GRPO on groups of which a part was given a hint, with care for the hint's tokens.

  A hint is the beginning of a reference solution at the start of the completion; it is trained
  where `batch.mask` is 1. Reads `batch.extras`: `hinted` `[*N]`, 1 on completions of a hint;
  `hint_mask` `[*N, T]`, 1 on its tokens; and `old_entropy` `[*N, T]`, of the policy before the
  update, which the loop fills. How long a hint is says `selection.hint_ratio`. Weights of 0 leave
  the counts of tokens as they are.

  Args:
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.
    eps: added to the group's deviation.
    ddof: 1 for the unbiased deviation.

  Source: arXiv 2512.13095; a reconstruction. Certain is that hint tokens of a negative advantage
  are left out; the forms of the other weights are ours, and so is that hinted and other completions
  are standardised together.
  """

  def prepare(batch):
    hinted = extra(batch, 'hinted', '1 on completions that began with a hint, [*N]')
    hint = extra(batch, 'hint_mask', '1 on the tokens of a hint, [*N, T]')
    entropy = extra(batch, 'old_entropy', 'the entropy of the policy before the update, [*N, T]')
    estimate = per_group(partial(advantages.adhint, eps=eps, ddof=ddof), batch)(
      batch.rewards, hinted
    )
    consistent = token_weights.hint_consistency(entropy, hint, batch.mask)
    preserved = token_weights.hint_preservation(estimate, hint)
    return batch.replace(advantages=estimate[..., None] * consistent * preserved)

  method = stateless(
    prepare, **policy_terms(token_ratio, clip_low, clip_high, aggregation.sequence_mean)
  )
  return method._replace(reads=('entropy',), needs=('hinted',))
