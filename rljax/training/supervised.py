"""One optimizer step of supervised learning on packed rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from rljax.models.decoder import Model
from rljax.training import head
from rljax.training.train_step import TrainState, apply_gradients, cut


def make_supervised_step(
  model: Model, tx: optax.GradientTransformation, num_microbatches: int = 1
) -> Callable[[TrainState, dict[str, jax.Array]], tuple[TrainState, dict[str, jax.Array]]]:
  """A step `(state, rows) -> (state, metrics)` on the mean negative log-likelihood of target
  tokens.

  Rows are as `rljax.data.pack` makes them: `tokens`, `positions`, `segments` int32 `[B, L]` and
  `mask` float32 `[B, L]`, 1 where the token is a target. Examples that share a row do not see each
  other.

  Args:
    model: the model.
    tx: the optimizer.
    num_microbatches: parts that B is cut into, with the same result in less memory; divides it.

  Returns:
    The step; its metrics are `loss` (nats a target token), `token_accuracy` (share of targets that
    are the most likely token) and those of `apply_gradients`.

  Raises:
    ValueError: while tracing, if the rows do not divide.
  """

  unembed = model.unembed or (lambda params, logits: logits)
  wanted = {'logp': head.logp, 'correct': head.correct}

  def per_token(params, x, targets):
    return head.per_token(unembed, params, x, targets, wanted)

  def loss(params, rows, weights):
    x, _ = (model.features or model.apply)(
      params,
      rows['tokens'][:, :-1],
      rows['positions'][:, :-1],
      None,
      segments=rows['segments'][:, :-1],
    )
    found = model.by_rows(per_token)(params, x, rows['tokens'][:, 1:])
    return -jnp.sum(weights * found['logp']), jnp.sum(weights * found['correct'])

  def gradient(params, rows, weights):
    (value, right), grads = jax.value_and_grad(loss, has_aux=True)(params, rows, weights)
    return value, right, jax.tree.map(lambda g: g.astype(jnp.float32), grads)

  def step(state, rows):
    mask = rows['mask'][:, 1:]
    # The first token of an example follows another example's last: nothing predicts it.
    mask = mask * (rows['segments'][:, 1:] == rows['segments'][:, :-1])
    weights = mask / jnp.maximum(mask.sum(), 1.0)
    parts = cut((rows, weights), num_microbatches)
    value, right, grads = _summed(lambda part: gradient(state.params, *part), parts)
    params, opt_state, seen = apply_gradients(tx, state, grads)
    metrics = {'loss': value, 'token_accuracy': right} | seen
    return TrainState(state.step + 1, params, opt_state, state.method_state), metrics

  return step


def _summed(function: Callable[[Any], Any], parts: Any) -> Any:
  """The sum of what a function gives for each of the parts, one after the other."""
  first = jax.tree.map(lambda x: x[0], parts)
  if jax.tree.leaves(parts)[0].shape[0] == 1:  # a loop of one would keep a second copy
    return function(first)
  start = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(function, first))
  total, _ = jax.lax.scan(
    lambda total, part: (jax.tree.map(jnp.add, total, function(part)), None), start, parts
  )
  return total
