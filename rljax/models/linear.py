"""The one place where activations meet a weight, and the records that stand for a weight.

Every product of the decoder but those inside the attention is `project(x, weight, axes)`. A weight
is an array or a record of arrays with a method `project(x, axes)`. Records are pytrees whose leaves
all have the axis that loops take apart (layers), so a scan goes through them.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

# By this name a policy of rematerialisation knows the products: it cannot look into `_product`.
PRODUCT = 'product'

# Projections of the decoder by name, and how many axes after that of the layers are inputs.
PROJECTIONS = {
  'query': 1,
  'key': 1,
  'value': 1,
  'attention_out': 2,
  'gate': 1,
  'up': 1,
  'down': 1,
}


def project(x: jax.Array, weight: Any, axes: int = 1) -> jax.Array:
  """The product over the last `axes` axes of `x` and the first of `weight`, in the type of `x`."""
  if hasattr(weight, 'project'):
    return weight.project(x, axes)
  return checkpoint_name(_product(x, weight, axes), PRODUCT)


def unembed(x: jax.Array, weight: jax.Array) -> jax.Array:
  """The product of activations `[..., D]` with a head `[V, D]`, float32 `[..., V]`."""
  return _logits(x, weight)


def dense(weight: Any) -> jax.Array:
  """The array that a weight stands for."""
  return weight.dense() if hasattr(weight, 'dense') else weight


@flax.struct.dataclass
class LowRank:
  """A weight `base + scale * a @ b` that is never formed (LoRA, arXiv 2106.09685, section 4.1).

  Attributes:
    base: `[inputs..., outputs...]`, an array or a record.
    a: `[inputs..., R]`, R the rank.
    b: `[R, outputs...]`.
    scale: of the product.
  """

  base: Any
  a: jax.Array
  b: jax.Array
  scale: float = flax.struct.field(pytree_node=False)

  def project(self, x: jax.Array, axes: int) -> jax.Array:
    """`x @ base + scale * (x @ a) @ b`."""
    return project(x, self.base, axes) + project(self.scale * project(x, self.a, axes), self.b)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _product(x, weight, axes):
  return jnp.tensordot(x, weight.astype(x.dtype), axes)


def _product_forward(x, weight, axes):
  return _product(x, weight, axes), (x, weight)


def _product_backward(axes, saved, grad):
  """The two products of the gradient, the weight's with its shorter side first.

  That form is the one that XLA's CPU backend computes at full speed, 1.6 times faster than the
  other; the weight's gradient is in the weight's type, unrounded.
  """
  x, weight = saved
  outputs = weight.ndim - axes
  by_output = tuple(range(grad.ndim - outputs, grad.ndim)), tuple(range(axes, weight.ndim))
  dx = jax.lax.dot_general(grad, weight.astype(grad.dtype), (by_output, ((), ())))
  tokens = tuple(range(x.ndim - axes))
  contract = functools.partial(
    jax.lax.dot_general,
    dimension_numbers=((tokens, tokens), ((), ())),
    preferred_element_type=weight.dtype,
  )
  if math.prod(weight.shape[:axes]) ** 2 <= weight.size:
    return dx, contract(x, grad)
  # The barrier keeps XLA from undoing the order of the sides.
  turned = jax.lax.optimization_barrier(contract(grad, x))
  return dx, turned.transpose(*range(outputs, weight.ndim), *range(outputs))


_product.defvjp(_product_forward, _product_backward)


@jax.custom_vjp
def _logits(x, weight):
  return jnp.einsum('...d,vd->...v', x, weight.astype(x.dtype), preferred_element_type=jnp.float32)


def _logits_forward(x, weight):
  return _logits(x, weight), (x, weight)


def _logits_backward(saved, grad):
  """As `_product_backward`: the gradient of the head with its shorter side first."""
  x, weight = saved
  grad = grad.astype(x.dtype)
  tokens = tuple(range(x.ndim - 1))
  turned = jax.lax.dot_general(
    x, grad, ((tokens, tokens), ((), ())), preferred_element_type=weight.dtype
  )
  dx = jnp.einsum('...v,vd->...d', grad, weight.astype(x.dtype))
  return dx, jax.lax.optimization_barrier(turned).T


_logits.defvjp(_logits_forward, _logits_backward)
