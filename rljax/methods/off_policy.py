"""Any method on tokens that another policy has drawn: its loss times a constant weight.

The weights multiply the finished loss of each token, outside of the clip, and no denominator counts
them. What is weighed are the method's terms that count, whose values are `[*N, T]`; terms with
coefficient 0 stay as they are. Add those that are no expectation over the sampled tokens, such as
an entropy bonus, outside (`plus`).

The policy that the update starts from is `batch.old_logp`, and where it is None the policy being
trained without its gradient, as everywhere. With the clipped ratio inside, an importance weight
makes the decoupled objective: the clip bounds how far an update goes, the weight says how likely
the token would be now.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from rljax import aggregation, token_weights
from rljax.methods.combinators import plus
from rljax.methods.reading import tokens
from rljax.types import Batch, Method, Scores, Term

Weights = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


def with_importance(method: Method, weights: Weights) -> Method:
  """The method with every token's loss times `weights(old_logp, behavior_logp, mask) -> [*N, T]`.

  For a weight that a sequence has to itself; one that looks at the whole batch needs
  `with_batch_importance`. The metric `importance` is the mean weight of a token.

  Args:
    method: its terms that count have values `[*N, T]`.
    weights: composed of `rljax.token_weights`, for example
      `lambda *logps: truncated(sequence_importance(*logps), high=5.0)`.

  Raises:
    ValueError: while tracing, if `behavior_logp` is None or a term has no value per token.
  """

  def importance(scores, batch):
    return weights(*_policies(scores, batch), batch.mask)

  return _weighed(method, importance, importance=importance)


def with_batch_importance(method: Method, weights: Weights) -> Method:
  """`with_importance` for weights that look at the whole batch, such as normalised ones.

  They are computed once per optimizer step, which costs a forward pass, on trained tokens of kept
  sequences: `mask` is 0 on all others. They are `batch.extras['importance']` from there on.

  Args and raises as in `with_importance`; for example
  `lambda *logps: normalized_over_tokens(truncated(token_importance(*logps)), logps[-1])`.
  """

  def measure(state, scores, batch):
    if method.measure is not None:
      state, batch = method.measure(state, scores, batch)
    found = weights(*_policies(scores, batch), tokens(batch))
    return state, batch.replace(extras={**batch.extras, 'importance': found})

  def importance(scores, batch):
    del scores  # the weights of the whole step are in the batch
    return batch.extras['importance']

  return _weighed(method, importance, importance=importance)._replace(measure=measure)


def with_truncated_importance(method: Method, cap: float = 2.0) -> Method:
  """Truncated importance sampling: every token's loss times `min(old / behavior, cap)`.

  Two metrics are added: `importance`, the mean weight of a token, and `importance_capped`, the
  share of tokens whose weight is the cap.

  Args:
    method: its terms that count have values `[*N, T]`.
    cap: the largest weight.

  Raises:
    ValueError: `cap` is not positive; while tracing, if `behavior_logp` is None or a term has no
      value per token.

  Source: arXiv 2110.00641, 2505.24298; truncated as in verl's rollout_corr_helper.py.
  """
  if cap <= 0:
    raise ValueError(f'cap is the largest importance weight and must be positive, not {cap}.')

  def importance(scores, batch):
    found = token_weights.token_importance(*_policies(scores, batch), batch.mask)
    return token_weights.truncated(found, high=cap)

  def capped(scores, batch):
    weight = importance(scores, batch)
    return (weight >= cap).astype(weight.dtype)

  return _weighed(method, importance, importance=importance, importance_capped=capped)


def with_masked_importance(
  method: Method,
  *,
  low: float = 0.0,
  high: float = 3.0,
  level: Weights = token_weights.sequence_importance,
) -> Method:
  """Masked importance sampling: sequences whose weight lies outside of `[low, high]` are left out.

  Those inside are weighed. The denominators still count who is left out. Metrics are `importance`,
  the mean weight of a token, and `importance_masked`, the share of tokens left out.

  Args:
    method: its terms that count have values `[*N, T]`.
    low: least weight.
    high: largest weight; tight ones, 0.99 and 1.01, suit `token_weights.geometric_importance`.
    level: of `token_weights`: what the weight is of.

  Raises:
    ValueError: unless `0 <= low < high`; while tracing as in `with_importance`.

  Source: TRL's mode sequence_mask with its default of `high`.
  """
  if not 0 <= low < high:
    raise ValueError(f'Importance weights are bounded to 0 <= low < high, not [{low}, {high}].')

  def importance(scores, batch):
    found = level(*_policies(scores, batch), batch.mask)
    return token_weights.masked(found, low=low, high=high)

  def left_out(scores, batch):
    weight = importance(scores, batch)
    return (weight == 0).astype(weight.dtype)

  return _weighed(method, importance, importance=importance, importance_masked=left_out)


def with_icepop(method: Method, *, low: float = 0.5, high: float = 2.0) -> Method:
  """IcePop: tokens whose importance weight lies outside of `[low, high]` are left out.

  Those inside are weighed, as in verl; SkyRL only leaves out. Metrics as in
  `with_masked_importance`.

  Source: arXiv 2510.18855; the bounds are SkyRL's, the authors' own were not seen.
  """
  return with_masked_importance(method, low=low, high=high, level=token_weights.token_importance)


def with_off_policy_mask(method: Method, *, delta: float = 0.5) -> Method:
  """The method without bad answers that the policy has moved away from.

  Left out are tokens of negative advantage in sequences whose mean of `behavior_logp - logp` is
  above `delta`, with `logp` of the policy being trained. Their share is the metric
  `off_policy_masked`.

  Args:
    method: fills `batch.advantages`; its terms that count have values `[*N, T]`.
    delta: nats a token.

  Raises:
    ValueError: while tracing, if `behavior_logp` or `advantages` is None or a term has no value per
      token.

  Source: arXiv 2512.02556; no `delta` is published, the default is TRL's example.
  """

  def kept(scores, batch):
    if batch.advantages is None:
      raise ValueError(
        'An off-policy mask reads batch.advantages, which is None: this method has no advantages.'
      )
    _, behavior_logp = _policies(scores, batch)
    weight = token_weights.off_policy_mask(
      batch.advantages, behavior_logp, scores.logp, batch.mask, delta=delta
    )
    return jnp.broadcast_to(weight, batch.mask.shape)

  return _weighed(method, kept, off_policy_masked=lambda scores, batch: 1 - kept(scores, batch))


def _weighed(
  method: Method, weight: Callable[[Scores, Batch], jax.Array], **metrics: Callable
) -> Method:
  """The method with `weight(scores, batch) -> [*N, T]` on its terms, and token means by name."""

  def times_weight(name, term):
    def value(scores, batch):
      found, weights = term.value(scores, batch), weight(scores, batch)
      if found.shape != weights.shape:
        raise ValueError(
          f'Term {name!r} has values of shape {found.shape}, and importance weights are per token, '
          f'{weights.shape}. Wrap the method without it and add it by plus.'
        )
      return weights * found

    return term._replace(value=value)

  counts = {n: term for n, term in method.terms.items() if callable(term.coef) or term.coef}
  return plus(
    method._replace(terms={**method.terms, **{n: times_weight(n, t) for n, t in counts.items()}}),
    **{name: Term(fn, aggregation.token_mean, 0.0) for name, fn in metrics.items()},
  )


def _policies(scores, batch):
  """`old_logp` and `behavior_logp`, 0 where nobody trains."""
  if batch.behavior_logp is None:
    raise ValueError(
      'An importance weight reads batch.behavior_logp, which is None. Pass on what the sampler '
      'returned.'
    )
  old_logp = scores.logp if batch.old_logp is None else batch.old_logp
  # What stands where nobody trains may be NaN, and 0 * NaN would reach the gradient.
  return tuple(jnp.where(batch.mask > 0, x, 0.0) for x in (old_logp, batch.behavior_logp))
