"""Optimizers by plain numbers: AdamW with clipping and a schedule."""

from __future__ import annotations

import optax


def schedule(
  learning_rate: float, *, kind: str = 'constant', warmup_steps: int = 0, total_steps: int = 0
) -> optax.Schedule:
  """Linear warm-up, then `constant` or `cosine` down to 0 at `total_steps`.

  Raises:
    ValueError: for another kind, a negative warm-up, or a cosine that ends before its warm-up.
  """
  if warmup_steps < 0:
    raise ValueError(f'warmup_steps is {warmup_steps}; it must be at least 0.')
  if kind == 'constant':
    after = optax.constant_schedule(learning_rate)
  elif kind == 'cosine':
    if total_steps <= warmup_steps:
      raise ValueError(
        f'A cosine schedule of {total_steps} steps cannot hold {warmup_steps} steps of warm-up.'
      )
    after = optax.cosine_decay_schedule(learning_rate, total_steps - warmup_steps)
  else:
    raise ValueError(f"schedule is {kind!r}; expected 'constant' or 'cosine'.")
  if not warmup_steps:
    return after
  # Starts above 0, so that the first step is not lost.
  rise = optax.linear_schedule(learning_rate / warmup_steps, learning_rate, warmup_steps - 1)
  return optax.join_schedules([rise, after], [warmup_steps])


def adamw(
  learning_rate: float | optax.Schedule,
  *,
  b1: float = 0.9,
  b2: float = 0.95,
  eps: float = 1e-8,
  weight_decay: float = 0.0,
  clip_norm: float = 1.0,
) -> optax.GradientTransformation:
  """AdamW after clipping the global gradient norm (`clip_norm` 0: no clipping)."""
  clip = optax.clip_by_global_norm(clip_norm) if clip_norm else optax.identity()
  return optax.chain(
    clip, optax.adamw(learning_rate, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay)
  )
