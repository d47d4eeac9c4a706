"""Functions that take and return a `Method`."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from rljax import aggregation, ratios
from rljax.types import Batch, Method, Scores, Term


def stateless(prepare: Callable[[Batch], Batch], **terms: Term) -> Method:
  """A method without state from `prepare: batch -> batch` and its terms by name."""
  return Method(
    init=lambda: (), prepare=lambda state, batch: (state, prepare(batch)), terms=dict(terms)
  )


def plus(method: Method, **terms: Term) -> Method:
  """The method with more terms; raises ValueError if a name is taken."""
  taken = sorted(set(terms) & set(method.terms))
  if taken:
    raise ValueError(f'The method already has terms {taken}; choose other names.')
  return method._replace(terms={**method.terms, **terms})


def with_rewards(rewards: Callable[[Batch], jax.Array], method: Method) -> Method:
  """The method on other rewards: `rewards(batch) -> [*N]` replaces `batch.rewards` first.

  A stage that sets rewards belongs inside one that adds to them, as order is the flow of data.
  """

  def prepare(state, batch):
    return method.prepare(state, batch.replace(rewards=rewards(batch)))

  return method._replace(prepare=prepare)


def with_keep(keep: Callable[[Batch], jax.Array], method: Method) -> Method:
  """The method on some sequences: `keep(batch) -> [*N]` in {0, 1}, times what is kept already."""

  def prepare(state, batch):
    kept = keep(batch)
    return method.prepare(
      state, batch.replace(keep=kept if batch.keep is None else kept * batch.keep)
    )

  return method._replace(prepare=prepare)


def with_truncated_importance(method: Method, cap: float = 2.0) -> Method:
  """The method on tokens of another policy: every token's loss times `ratios.truncated_importance`.

  With the clipped ratio inside, which starts from the policy at the start of the update, this is
  the decoupled objective: the clip bounds how far an update goes, the weight says how likely the
  token would be now. That policy is `batch.old_logp`, and where it is None the policy being trained
  without its gradient, as everywhere. Terms with coefficient 0 stay as they are; add those that are
  no expectation over the sampled tokens, such as an entropy bonus, outside (`plus`).

  Two metrics are added: `importance`, the mean weight of a token, and `importance_capped`, the
  share of tokens whose weight is the cap.

  Args:
    method: its terms that count have values `[*N, T]`.
    cap: the largest weight.

  Raises:
    ValueError: `cap` is not positive; while tracing, if `behavior_logp` is None or a term has no
      value per token.

  Source: arXiv 2110.00641, 2505.24298; the cards of truncated importance sampling as in `ratios`.
  """
  if cap <= 0:
    raise ValueError(f'cap is the largest importance weight and must be positive, not {cap}.')

  def importance(scores: Scores, batch: Batch) -> jax.Array:
    if batch.behavior_logp is None:
      raise ValueError(
        'An importance weight reads batch.behavior_logp, which is None. Pass on what the sampler '
        'returned.'
      )
    old_logp = scores.logp if batch.old_logp is None else batch.old_logp
    # What stands where nobody trains may be NaN, and 0 * NaN would reach the gradient.
    old_logp, behavior_logp = (
      jnp.where(batch.mask > 0, x, 0.0) for x in (old_logp, batch.behavior_logp)
    )
    return ratios.truncated_importance(old_logp, behavior_logp, cap)

  def weighed(name, term):
    def value(scores, batch):
      found, weight = term.value(scores, batch), importance(scores, batch)
      if found.shape != weight.shape:
        raise ValueError(
          f'Term {name!r} has values of shape {found.shape}, and importance weights are per token, '
          f'{weight.shape}. Wrap the method without it and add it by plus.'
        )
      return weight * found

    return term._replace(value=value)

  def capped(scores, batch):
    weight = importance(scores, batch)
    return (weight >= cap).astype(weight.dtype)

  counts = {n: term for n, term in method.terms.items() if callable(term.coef) or term.coef}
  return plus(
    method._replace(terms={**method.terms, **{n: weighed(n, t) for n, t in counts.items()}}),
    importance=Term(importance, aggregation.token_mean, 0.0),
    importance_capped=Term(capped, aggregation.token_mean, 0.0),
  )


def together(**methods: Method) -> Method:
  """Several methods at once, each on its own batch: batches and scores are dicts by the same names.

  Terms are named `<method>_<term>`. For rollouts with demonstrations, or several tasks. A critic is
  not part of the result: train it on its own batch, by `make_critic_step` of its own method.
  """

  def init():
    return {name: method.init() for name, method in methods.items()}

  def prepare(state, batches):
    pairs = {name: m.prepare(state[name], batches[name]) for name, m in methods.items()}
    return {n: p[0] for n, p in pairs.items()}, {n: p[1] for n, p in pairs.items()}

  def lift(name, term):
    coef = term.coef
    return Term(
      lambda scores, batches: term.value(scores[name], batches[name]),
      lambda batches: term.weights(batches[name]),
      (lambda batches: coef(batches[name])) if callable(coef) else coef,
    )

  def measure(state, scores, batches):
    state, batches = dict(state), dict(batches)
    for name, method in methods.items():
      if method.measure is not None:
        state[name], batches[name] = method.measure(state[name], scores[name], batches[name])
    return state, batches

  terms = {
    f'{name}_{key}': lift(name, term)
    for name, method in methods.items()
    for key, term in method.terms.items()
  }
  any_measure = any(method.measure is not None for method in methods.values())
  return Method(init, prepare, terms, measure if any_measure else None)
