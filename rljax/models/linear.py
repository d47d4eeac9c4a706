"""The one place where activations meet a weight, and the records that stand for a weight.

Every product of the decoder but those inside the attention is `project(equation, x, weight)`. A
weight is an array or a record of arrays with a method `project(equation, x)`. Records are pytrees
whose leaves all have the axes that loops take apart (layers), so a scan goes through them.
"""

from __future__ import annotations

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

# Projections of the decoder by name: how many axes after that of the layers are inputs, and how
# many number the projections that are stored side by side.
PROJECTIONS = {
  'query': (1, 0),
  'key_value': (1, 1),
  'attention_out': (2, 0),
  'gate_up': (1, 1),
  'down': (1, 0),
}


def project(equation: str, x: jax.Array, weight: Any) -> jax.Array:
  """`einsum(equation, x, weight)` in the type of the activations."""
  if hasattr(weight, 'project'):
    return weight.project(equation, x)
  return jnp.einsum(equation, x, weight.astype(x.dtype))


def dense(weight: Any) -> jax.Array:
  """The array that a weight stands for."""
  return weight.dense() if hasattr(weight, 'dense') else weight


@flax.struct.dataclass
class LowRank:
  """A weight `base + scale * a @ b` that is never formed (LoRA, arXiv 2106.09685, section 4.1).

  Where the base holds several projections side by side (key with value), each has factors of its
  own. In the base's order of axes, with R the rank:

  Attributes:
    base: `[inputs..., parts..., outputs...]`, an array or a record.
    a: `[inputs..., parts..., R]`.
    b: `[parts..., R, outputs...]`.
    scale: of the product.
  """

  base: Any
  a: jax.Array
  b: jax.Array
  scale: float = flax.struct.field(pytree_node=False)

  def project(self, equation: str, x: jax.Array) -> jax.Array:
    """`x @ base + scale * (x @ a) @ b`."""
    down, up = _through_the_rank(equation, self.a.ndim)
    narrow = jnp.einsum(down, x, self.a.astype(x.dtype))
    side = jnp.einsum(up, self.scale * narrow, self.b.astype(x.dtype))
    return project(equation, x, self.base) + side


def _through_the_rank(equation: str, ndim: int) -> tuple[str, str]:
  """The equations of `x @ a` and of what follows it, for factors `a` of `ndim` axes.

  >>> _through_the_rank('bld,dchk->cblhk', 3)
  ('bld,dcR->cblR', 'cblR,cRhk->cblhk')
  """
  operands, out = equation.split('->')
  _, weight = operands.split(',')
  inputs = ''.join(name for name in weight if name not in out)
  kept = weight[len(inputs) :]
  parts = kept[: ndim - 1 - len(inputs)]
  outputs = kept[len(parts) :]
  narrow = ''.join(name for name in out if name not in outputs) + 'R'
  down = f'{operands[: operands.index(",")]},{inputs}{parts}R->{narrow}'
  return down, f'{narrow},{parts}R{outputs}->{out}'
