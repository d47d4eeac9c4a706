"""One optimizer step of supervised learning on packed rows."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from rljax.models.decoder import Model
from rljax.training import head
from rljax.training.train_step import TrainState, apply_gradients


def make_supervised_step(
  model: Model, tx: optax.GradientTransformation
) -> Callable[[TrainState, dict[str, jax.Array]], tuple[TrainState, dict[str, jax.Array]]]:
  """A step `(state, rows) -> (state, metrics)` on the mean negative log-likelihood of target
  tokens.

  Rows are as `rljax.data.pack` makes them: `tokens`, `positions`, `segments` int32 `[B, L]` and
  `mask` float32 `[B, L]`, 1 where the token is a target. Examples that share a row do not see each
  other.

  Returns:
    The step; its metrics are `loss` (nats a target token), `token_accuracy` (share of targets that
    are the most likely token) and those of `apply_gradients`.
  """

  unembed = model.unembed or (lambda params, logits: logits)
  wanted = {'logp': head.logp, 'correct': head.correct}

  def per_token(params, x, targets):
    return head.per_token(unembed, params, x, targets, wanted)

  def loss(params, rows):
    x, _ = (model.features or model.apply)(
      params,
      rows['tokens'][:, :-1],
      rows['positions'][:, :-1],
      None,
      segments=rows['segments'][:, :-1],
    )
    target, mask = rows['tokens'][:, 1:], rows['mask'][:, 1:]
    # The first token of an example follows another example's last: nothing predicts it.
    mask = mask * (rows['segments'][:, 1:] == rows['segments'][:, :-1])
    found = model.by_rows(per_token)(params, x, target)
    weights = mask / jnp.maximum(mask.sum(), 1.0)
    return -jnp.sum(weights * found['logp']), jnp.sum(weights * found['correct'])

  def step(state, rows):
    (value, right), grads = jax.value_and_grad(loss, has_aux=True)(state.params, rows)
    params, opt_state, seen = apply_gradients(tx, state, grads)
    metrics = {'loss': value, 'token_accuracy': right} | seen
    return TrainState(state.step + 1, params, opt_state, state.method_state), metrics

  return step
