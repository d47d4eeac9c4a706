"""The value model of a run whose method has one: a decoder trained beside the policy."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from experiments import build
from rljax import models, training
from rljax.types import Batch, Method


class Critic(NamedTuple):
  """What a learner does about values; nothing, where the method has no critic.

  Attributes:
    init: `reference -> ` its TrainState on the mesh, in buffers of its own; () without a critic.
    read: `(state, batch) -> batch` with `extras['old_values']`.
    update: `(state, batch) -> (state, metrics)`, one optimizer step on a prepared batch; `state` is
      donated, and the metrics are called `critic/...`.
  """

  init: Callable[[Any], Any]
  read: Callable[[Any, Batch], Batch]
  update: Callable[[Any, Batch], tuple[Any, dict[str, jax.Array]]]


def make_critic(config: ConfigDict, parts: build.Parts, method: Method) -> Critic:
  """The critic of a configuration's `critic` section, if the method has one.

  It starts from the parameters that RL starts from and trains all of its own, also where the policy
  trains an adapter.
  """
  if not method.critic:
    return Critic(
      lambda reference: (), lambda state, batch: batch, lambda state, batch: (state, {})
    )
  rl, mesh = config.rl, parts.mesh
  specs = models.value_model(parts.model).specs
  tx = build.optimizer(config.critic.optimizer, rl.steps * rl.epochs * rl.minibatches, specs)
  values = jax.jit(training.make_value(parts.model))

  def init(reference):
    # Copied: jit hands inputs through, and the first update would delete the reference.
    return training.init_state(jax.tree.map(jnp.copy, models.value_params(reference)), tx)

  shapes = jax.eval_shape(
    lambda: init(models.init(jax.random.key(0), parts.model.specs, jnp.dtype(parts.param_dtype)))
  )
  where = training.sharding.params(specs, mesh)
  where = training.sharding.like_params(shapes, shapes.params, where, mesh)

  def read(state, batch):
    return batch.replace(extras={**batch.extras, 'old_values': values(state.params, batch)})

  @functools.partial(jax.jit, donate_argnums=0, out_shardings=(where, None))
  def step(state, batch):
    return training.make_critic_step(values, method, tx, rl.microbatches)(state, batch)

  def update(state, batch):
    state, metrics = step(state, batch)
    return state, {f'critic/{name}': x for name, x in metrics.items()}

  return Critic(jax.jit(init, out_shardings=where), read, update)
