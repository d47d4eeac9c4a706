"""Numbers that follow what is observed, one step after the other.

A `Controller` is a pair of functions over an explicit state: `state = init()`, then
`state, value = update(state, observation)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Controller(NamedTuple):
  """A number, or an array, steered by observations.

  Attributes:
    init: `() -> state`, any pytree.
    update: `(state, observation) -> (state, value)`.
  """

  init: Callable[[], Any]
  update: Callable[[Any, Any], tuple[Any, Any]]
