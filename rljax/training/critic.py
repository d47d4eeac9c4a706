"""The value model beside a policy: what it says of a batch, and its own train step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import optax

from rljax.models.decoder import Model
from rljax.models.value import value_model
from rljax.training.score import make_score
from rljax.training.train_step import TrainState, make_train_step
from rljax.types import Batch, Method, Scores


def make_value(model: Model) -> Callable[[Any, Batch], jax.Array]:
  """Values `(params, batch) -> [*N, T]` of the state before each token, 0 where there is none.

  Rows are computed as by `make_score`: a prompt once for its completions, or in packed slots.

  Args:
    model: the policy's decoder; the parameters are those of `models.value_model(model)`.

  Raises:
    ValueError: if the model does not offer its activations.
  """
  score = make_score(value_model(model), statistics={'value': lambda logits, targets: logits[:, 0]})

  def values(params, batch):
    return score(params, batch).extras['value']

  return values


def make_critic_step(
  values: Callable[[Any, Batch], jax.Array],
  method: Method,
  tx: optax.GradientTransformation,
  num_microbatches: int = 1,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]:
  """A train step `(state, batch) -> (state, metrics)` of the method's `critic`.

  It is `make_train_step` with the critic's terms, a state of the critic alone (`init_state`) and
  scores that hold values only. The batch has been through `method.prepare`; for a dict of batches
  (`methods.together`) `values` returns a dict by the same names.

  Args:
    values: `(params, batch) -> [*N, T]`, from `make_value`.
    method: one with a critic.
    tx: the critic's optimizer.
    num_microbatches: parts that the leading axis is cut into; divides it.

  Returns:
    The step; its metrics are `loss`, `loss/<term>`, `grad_norm`, `nonfinite_grads` and `skipped`,
    as those of `make_train_step`.

  Raises:
    ValueError: if the method has no critic.
  """
  if not method.critic:
    raise ValueError(f'The method has no critic, only terms of the policy: {sorted(method.terms)}.')
  alone = Method(init=tuple, prepare=lambda state, batch: (state, batch), terms=method.critic)

  def score(params, batch):
    return jax.tree.map(lambda v: Scores(logp=None, values=v), values(params, batch))

  def blank(batch):
    return batch.replace(behavior_logp=None, old_logp=None, ref_logp=None)

  step = make_train_step(score, alone, tx, num_microbatches)

  def critic_step(state, batch):
    # Without the policies' log-probabilities nothing is reported of the policy.
    batch = jax.tree.map(blank, batch, is_leaf=lambda x: isinstance(x, Batch))
    state, metrics = step(state, batch)
    del metrics['mismatch']
    return state, metrics

  return critic_step
