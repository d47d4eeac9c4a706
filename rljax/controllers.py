"""Numbers that follow what is observed, one step after the other.

A `Controller` is a pair of functions over an explicit state: `state = init()`, then
`state, value = update(state, observation)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Controller(NamedTuple):
  """A number, or an array, steered by observations.

  Attributes:
    init: `() -> state`, any pytree.
    update: `(state, observation) -> (state, value)`.
  """

  init: Callable[[], Any]
  update: Callable[[Any, Any], tuple[Any, Any]]


def adaptive_entropy(
  target: float,
  *,
  step: float = 0.005,
  low: float = 0.0,
  high: float = 1.0,
  initial: float = 0.0,
) -> Controller:
  """Coefficient of an entropy bonus that holds the policy's entropy up to `target`.

  The state is the coefficient: it grows by `step` when the observed mean entropy is at or below
  `target` and shrinks by `step` otherwise, within `[low, high]`. The value is the new coefficient
  where the entropy is at or below `target`, else 0.

  Args:
    target: nats a token.
    step: change of the coefficient.
    low: its least value.
    high: its largest value.
    initial: its value before the first observation.
  Raises:
    ValueError: `initial` is not within `[low, high]`.

  Source: Skywork-OR1, arXiv 2505.22312; step and bounds are TRL's defaults.

  >>> controller = adaptive_entropy(1.0, initial=0.25, step=0.25)
  >>> coef, value = controller.update(controller.init(), 0.5)
  >>> coef, value = controller.update(coef, 2.0)
  >>> float(coef), float(value)
  (0.25, 0.0)
  """
  if not low <= initial <= high:
    raise ValueError(f'initial is {initial}; it must lie in [low, high] = [{low}, {high}].')

  def update(coef: jax.Array, entropy: jax.Array) -> tuple[jax.Array, jax.Array]:
    collapsing = entropy <= target
    coef = jnp.where(collapsing, jnp.minimum(coef + step, high), jnp.maximum(coef - step, low))
    return coef, jnp.where(collapsing, coef, 0.0)

  return Controller(lambda: jnp.float32(initial), update)
