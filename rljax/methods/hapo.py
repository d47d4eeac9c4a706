"""HAPO."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from rljax import advantages, aggregation, selection, shaping, surrogates, token_weights
from rljax.groups import per_group
from rljax.methods.reading import correct, kept, old_entropy, tokens
from rljax.methods.terms import token_ratio
from rljax.types import Method, Term


def hapo(
  *,
  max_length: int,
  overlong_buffer: int,
  clip_low: float = 0.2,
  clip_high: float = 0.28,
  cap: float = 10.0,
  pivot: float = 0.8,
  tau: float = 0.05,
  statistics: Callable[..., token_weights.EntropyStatistics] = token_weights.entropy_statistics,
) -> Method:
  """Heterogeneous adaptive policy optimisation: each token's entropy steers its advantage, its
  clip range and the temperature that it is drawn at, on DAPO's rewards and groups.

  It reads `batch.extras['old_entropy']`. The state is the last batch's `EntropyStatistics`, from
  which the next rollout has its temperatures.

  Args:
    max_length: longest completion, in tokens.
    overlong_buffer: tokens before `max_length` over which the punishment grows to -1.
    clip_low: clip range of the ratio below 1, up to twice that for a low entropy.
    clip_high: clip range above 1, up to twice that for a high entropy.
    cap: the largest ratio of a negative advantage.
    pivot: the quantile of entropies that changes nothing.
    tau: the largest relative change of the sampler's temperature; the paper has 0.1.
    statistics: `token_weights.unsigned_entropy_statistics` repeats the authors' code.

  Source: arXiv 2509.16591, equations 5 to 13. Where paper and code differ in the sign of the
  signal, this follows the paper; the code measures entropies in each microbatch of the update, this
  in the rollout batch before it.
  """

  def prepare(state, batch):
    del state  # of an older batch
    keep = kept(batch) * per_group(selection.mixed, batch)(correct(batch))
    rewards = shaping.soft_overlong(
      batch.rewards, batch.lengths, limit=max_length, buffer=overlong_buffer
    )
    estimate = per_group(advantages.hapo, batch)(rewards, batch.lengths)
    batch = batch.replace(
      rewards=rewards,
      keep=keep,
      advantages=estimate[..., None],
    )
    entropy = old_entropy(batch)
    found = statistics(entropy, tokens(batch), pivot=pivot)
    signal = token_weights.entropy_signal(entropy, found)
    return found, batch.replace(extras={**batch.extras, 'entropy_signal': signal})

  def at(loss, scores, batch):
    """A clipped loss, or what is cut off, at each token's own advantage and range."""
    ratio, signal = token_ratio(scores, batch), batch.extras['entropy_signal']
    low, high = token_weights.clip_ranges(signal, clip_low, clip_high)
    moved = token_weights.redistribute(batch.advantages, signal, ratio, low, high)
    return loss(ratio, moved, low, high)

  policy, cut = partial(surrogates.dual_clipped, cap=cap), surrogates.clip_fraction
  return Method(
    init=token_weights.no_entropy_statistics,
    prepare=prepare,
    terms={
      'policy': Term(partial(at, policy), aggregation.token_mean),
      'clip_fraction': Term(partial(at, cut), aggregation.token_mean, 0.0),
    },
    reads=('entropy',),
    draws=lambda state, logits: token_weights.tempered_by_entropy(logits, state, tau=tau),
  )
