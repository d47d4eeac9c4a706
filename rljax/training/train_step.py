"""One optimizer step of any method, in microbatches, as a pure function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from rljax import aggregation, divergences
from rljax.training.loss import lacking_explained, total, weigh
from rljax.types import Batch, Method, Scores


@flax.struct.dataclass
class TrainState:
  """All that an update reads and writes.

  Attributes:
    step: int32 `[]`, optimizer steps taken.
    params: the policy's parameters.
    opt_state: the optimizer's state.
    method_state: the method's state.
    critic: the state of the method's value model, a TrainState too; () where there is none.
  """

  step: jax.Array
  params: Any
  opt_state: Any
  method_state: Any = ()
  critic: Any = ()


def init_state(
  params: Any, tx: optax.GradientTransformation, method: Method | None = None
) -> TrainState:
  """The state before the first step."""
  state = method.init() if method else ()
  return TrainState(jnp.zeros((), jnp.int32), params, tx.init(params), state)


def make_train_step(
  score: Callable[[Any, Batch], Scores],
  method: Method,
  tx: optax.GradientTransformation,
  num_microbatches: int = 1,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]:
  """A train step `(state, batch) -> (state, metrics)`; the batch has been through `method.prepare`.

  The gradient is that of the whole batch for any `num_microbatches`. Jit it with the state donated.

  Args:
    score: `(params, batch) -> Scores`.
    method: the method.
    tx: the optimizer.
    num_microbatches: parts that the leading axis is cut into; divides it.

  Returns:
    The step. Its metrics are float32 `[]`: `loss`, `loss/<term>` (before the coefficient),
    `grad_norm`, `nonfinite_grads` (number of entries; if there are any, the update is skipped and
    `skipped` is 1), `entropy` (nats a token), `kl_old` (k3 estimate, nats a token), with references
    `kl_ref` (k3 estimate), and `mismatch`, the largest absolute difference between the sampler's
    log-probability and the scorer's at the start of the update: of rounding, unless the batch was
    drawn by another policy. For a dict of batches (`methods.together`) `score` returns a dict by
    the same names, and the token means are called `entropy/<name>` and so on.

  Raises:
    ValueError: while tracing, if the batch does not divide.
  """

  def step(state, batch):
    method_state = state.method_state
    if method.measure is not None:
      parts = jax.lax.map(lambda rows: score(state.params, rows), cut(batch, num_microbatches))
      scores = jax.lax.stop_gradient(_glue(parts))
      with lacking_explained(method):
        method_state, batch = method.measure(method_state, scores, batch)
    weights = weigh(method, batch)
    tokens = jax.tree.map(aggregation.token_mean, batch, is_leaf=_is_batch)

    def loss(params, rows, weights, tokens):
      scores = score(params, rows)
      value, terms = total(method, scores, rows, weights)
      metrics = {'loss': value} | {f'loss/{name}': x for name, x in terms.items()}
      return value, (metrics | _observe(scores, rows, tokens), _mismatch(scores, rows))

    def microbatch(carry, part):
      grads, metrics, mismatch = carry
      (_, (new, worst)), new_grads = jax.value_and_grad(loss, has_aux=True)(state.params, *part)
      grads = jax.tree.map(lambda a, g: a + g.astype(a.dtype), grads, new_grads)
      return (grads, jax.tree.map(jnp.add, metrics, new), jnp.maximum(mismatch, worst)), None

    parts = (cut(batch, num_microbatches), *cut((weights, tokens), num_microbatches))
    first = jax.tree.map(lambda x: x[0], parts)
    shapes = jax.eval_shape(lambda part: loss(state.params, *part)[1][0], first)
    carry = (
      jax.tree.map(lambda p: jnp.zeros_like(p, dtype=jnp.float32), state.params),
      jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes),
      jnp.zeros((), jnp.float32),
    )
    if num_microbatches == 1:  # a loop of one would keep a second copy of the gradients
      (grads, metrics, mismatch), _ = microbatch(carry, first)
    else:
      (grads, metrics, mismatch), _ = jax.lax.scan(microbatch, carry, parts)
    metrics['mismatch'] = mismatch
    params, opt_state, seen = apply_gradients(tx, state, grads)
    state = state.replace(
      step=state.step + 1, params=params, opt_state=opt_state, method_state=method_state
    )
    return state, metrics | seen

  return step


def apply_gradients(
  tx: optax.GradientTransformation, state: TrainState, grads: Any
) -> tuple[Any, Any, dict[str, jax.Array]]:
  """New parameters and optimizer state, the old ones if an entry of the gradient is not finite.

  Its metrics are `grad_norm`, `nonfinite_grads` (number of entries) and `skipped` (1 or 0).
  """
  counts = [jnp.sum(~jnp.isfinite(g)) for g in jax.tree.leaves(grads)]
  nonfinite = jnp.stack(counts).sum().astype(jnp.float32)
  metrics = {'grad_norm': optax.global_norm(grads), 'nonfinite_grads': nonfinite}
  grads = jax.tree.map(lambda g, p: g.astype(p.dtype), grads, state.params)

  def update():
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    return optax.apply_updates(state.params, updates), opt_state

  params, opt_state = jax.lax.cond(nonfinite == 0, update, lambda: (state.params, state.opt_state))
  return params, opt_state, metrics | {'skipped': (nonfinite > 0).astype(jnp.float32)}


def cut(tree: Any, parts: int) -> Any:
  """Every leaf `[R, ...]` as `[parts, R / parts, ...]`, strided; `constants` of batches are
  repeated.

  Strided, because a contiguous cut of an axis that is sharded makes the compiler replicate it.
  """

  def leaf(x):
    if x.shape[0] % parts:
      raise ValueError(
        f'A batch of {x.shape[0]} does not divide into {parts} microbatches; '
        f'choose a divisor of {x.shape[0]}.'
      )
    return x.reshape(x.shape[0] // parts, parts, *x.shape[1:]).swapaxes(0, 1)

  def each(x):
    if not _is_batch(x):
      return leaf(x)
    constants = jax.tree.map(lambda c: jnp.broadcast_to(c, (parts, *c.shape)), x.constants)
    rows = jax.tree.map(leaf, x.replace(constants={}))
    return rows.replace(constants=constants)

  return jax.tree.map(each, tree, is_leaf=_is_batch)


def _glue(tree):
  """The inverse of `cut` for leaves `[parts, R / parts, ...]`."""
  return jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(-1, *x.shape[2:]), tree)


def _is_batch(x):
  return isinstance(x, Batch)


def _observe(scores, batch, tokens):
  """Token means of what is worth watching in every method, as sums over rows."""
  if not _is_batch(batch):
    return {
      f'{metric}/{name}': x
      for name in batch
      for metric, x in _observe(scores[name], batch[name], tokens[name]).items()
    }
  scores = jax.lax.stop_gradient(scores)

  def mean(x):
    return jnp.sum(jnp.where(tokens > 0, tokens * x, 0.0))  # x is not read where nobody trains

  found = {}
  if scores.entropy is not None:
    found['entropy'] = mean(scores.entropy)
  if batch.old_logp is not None:
    found['kl_old'] = mean(divergences.k3(batch.old_logp, scores.logp))
  if batch.ref_logp is not None:
    found['kl_ref'] = mean(divergences.k3(scores.logp, batch.ref_logp))
  return found


def _mismatch(scores, batch):
  if not _is_batch(batch):
    return jnp.max(jnp.stack([_mismatch(scores[name], batch[name]) for name in batch]))
  if batch.behavior_logp is None:
    return jnp.zeros((), jnp.float32)
  drawn_from = scores.logp if batch.old_logp is None else batch.old_logp
  gap = jnp.abs(jax.lax.stop_gradient(drawn_from) - batch.behavior_logp)
  return jnp.max(jnp.where(batch.mask > 0, gap, 0.0))
