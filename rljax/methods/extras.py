"""What methods read in `batch.extras`."""

from __future__ import annotations

import jax

from rljax.types import Batch


def extra(batch: Batch, name: str, meaning: str) -> jax.Array:
  """`batch.extras[name]`; raises ValueError that says what belongs there if it is absent."""
  if name not in batch.extras:
    raise ValueError(
      f'The method needs batch.extras[{name!r}]: {meaning}. This batch has extras '
      f'{sorted(batch.extras)}.'
    )
  return batch.extras[name]
