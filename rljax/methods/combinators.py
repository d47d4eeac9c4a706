"""Functions that take and return a `Method`."""

from __future__ import annotations

from collections.abc import Callable

import jax

from rljax.types import Batch, Method, Term


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


def together(**methods: Method) -> Method:
  """Several methods at once, each on its own batch: batches and scores are dicts by the same names.

  Terms are named `<method>_<term>`. For rollouts with demonstrations, or several tasks.
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
