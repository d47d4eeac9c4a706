"""What RL trains: all parameters of the model, or a low-rank adapter beside a frozen base."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from experiments.run_dir import load_config
from rljax import models
from rljax.checkpoints import find, restore_params
from rljax.models import lora


class Policy(NamedTuple):
  """From what is trained to what the model applies; the reference is where RL starts from.

  Attributes:
    specs: tree of `Spec` of what is trained.
    start: `reference -> ` what is trained, before the first step; of buffers of its own, since they
      are donated.
    join: `(reference, trained) -> ` parameters of the model; copies nothing.
  """

  specs: Any
  start: Callable[[Any], Any]
  join: Callable[[Any, Any], Any]


def full(model: models.Model) -> Policy:
  """All parameters are trained; the reference is a second copy of them."""
  # jit hands an input that is also an output through, and the next donation would then delete the
  # caller's parameters: hence the copy.
  return Policy(
    model.specs,
    lambda reference: jax.tree.map(jnp.copy, reference),
    lambda reference, trained: trained,
  )


def low_rank(model: models.Model, seed: int, *, rank: int, alpha: float, targets) -> Policy:
  """An adapter is trained (`rljax.models.lora`); the reference is its base, in the same buffers."""
  specs = lora.specs(model.specs, rank=rank, targets=targets)
  return Policy(
    specs,
    lambda reference: models.init(jax.random.key(seed), specs),
    lambda reference, trained: lora.join(reference, trained, alpha=alpha),
  )


def from_config(config: ConfigDict, model: models.Model) -> Policy:
  """The policy of a configuration's `lora` section.

  Raises:
    ValueError: if a target fits no projection.
  """
  return low_rank(model, config.seed, **config.lora) if config.lora.rank else full(model)


def load_params(checkpoint: str | pathlib.Path, like: Any) -> Any:
  """The model's parameters in any checkpoint; an adapter's are joined to the base of its run.

  Args:
    checkpoint: a run, its checkpoints folder, or one step's folder; an adapter's must be in its
      run, whose `warm_start` holds the base.
    like: the model's parameters, for shapes, types and shardings.

  Raises:
    What `rljax.checkpoints.restore_params` raises.
  """
  folder = find(checkpoint)[0].parent
  base = folder.parent / 'warm_start'
  if folder == base or not base.is_dir():
    return restore_params(checkpoint, like=like)
  settings = load_config(folder.parent).lora
  if not settings.rank:
    return restore_params(checkpoint, like=like)
  return lora.join(
    restore_params(base, like=like), restore_params(checkpoint), alpha=settings.alpha
  )
