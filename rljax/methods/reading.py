"""What methods read of a batch beside its rewards."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.types import Batch


def extra(batch: Batch, name: str, meaning: str) -> jax.Array:
  """`batch.extras[name]`; raises ValueError with its meaning if nobody filled it."""
  if name not in batch.extras:
    raise ValueError(
      f'This method needs batch.extras[{name!r}], {meaning}; there are {sorted(batch.extras)}.'
    )
  return batch.extras[name]


def correct(batch: Batch) -> jax.Array:
  """Correctness without other parts of the reward: `extras['correct']`, else the rewards."""
  return batch.extras.get('correct', batch.rewards)


def kept(batch: Batch) -> jax.Array:
  """`keep`, 1 everywhere if it is None, `[*N]`."""
  return jnp.ones_like(batch.rewards) if batch.keep is None else batch.keep


def tokens(batch: Batch) -> jax.Array:
  """1 on the trained tokens of sequences that are kept, `[*N, T]`."""
  return batch.mask if batch.keep is None else batch.mask * batch.keep[..., None]
