"""Reading what a method needs beyond rewards."""

from __future__ import annotations

import jax

from rljax.types import Batch


def needed(batch: Batch, method: str, name: str, meaning: str) -> jax.Array:
  """`batch.extras[name]`; raises ValueError with its meaning if nobody filled it."""
  if name not in batch.extras:
    raise ValueError(
      f'{method} needs batch.extras[{name!r}], {meaning}; this batch has {sorted(batch.extras)}.'
    )
  return batch.extras[name]
