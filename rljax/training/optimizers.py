"""Optimizers by plain numbers: AdamW, Muon and Adafactor, each after clipping the global norm of
the gradient, and schedules of their learning rate.

A learning rate means the same to all three: the size of a step, to be found within a small factor
of AdamW's. `specs` are those of the parameters that are trained, the decoder's or an adapter's.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import optax

from rljax.models.matrices import Matrix, matrices
from rljax.models.specs import is_spec

# Of Muon's polynomial, and how often it is applied.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5


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
  return optax.chain(
    _clip(clip_norm), optax.adamw(learning_rate, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay)
  )


def muon(
  learning_rate: float | optax.Schedule,
  specs: Any,
  *,
  momentum: float = 0.95,
  rms: float = 0.2,
  b1: float = 0.9,
  b2: float = 0.95,
  eps: float = 1e-8,
  weight_decay: float = 0.0,
  clip_norm: float = 1.0,
) -> optax.GradientTransformation:
  """Muon for the projections, each layer's matrix by itself, and AdamW for all other parameters.

  A matrix moves along its Nesterov momentum with all singular values made nearly 1 by five
  Newton-Schulz iterations. Low-rank factors are matrices, too.

  Args:
    learning_rate: of all parameters.
    specs: tree of `Spec` of the parameters.
    momentum: Muon's.
    rms: root mean square of a matrix's step over the learning rate; 0.2 is AdamW's in practice.
    b1: AdamW's.
    b2: AdamW's.
    eps: AdamW's.
    weight_decay: of all parameters, times the learning rate.
    clip_norm: largest global gradient norm; 0: no clipping.

  Raises:
    ValueError: if no parameter is a projection.

  Source: https://kellerjordan.github.io/posts/muon; `rms` from arXiv 2502.16982, section 2.2;
  the iteration is `optax.contrib.scale_by_muon`.
  """
  found = matrices(specs)
  is_choice = lambda x: x is None or isinstance(x, Matrix)  # noqa: E731
  labels = jax.tree.map(lambda x: 'muon' if x else 'adamw', found, is_leaf=is_choice)
  if 'muon' not in jax.tree.leaves(labels):
    raise ValueError(
      'Muon needs projections such as layers/query, and none of these parameters has such a name; '
      'use adamw.'
    )

  def numbers(matrix, spec):
    if matrix is None:
      return optax.MaskedNode()
    # The iteration commutes with transposition, and with the longer side as inputs every version of
    # optax leaves out its own factor for shapes.
    sides = sorted(matrix, key=lambda axes: _size(spec, axes), reverse=True)
    return optax.contrib.MuonDimensionNumbers(*sides)

  def factors(matrix, spec):
    # An orthogonal matrix has a root mean square of 1 over the root of its longer side.
    if matrix is None:
      return optax.MaskedNode()
    return rms * math.sqrt(max(_size(spec, axes) for axes in matrix))

  def over_matrices(fn):
    return jax.tree.map(fn, found, specs, is_leaf=is_choice)

  scale = over_matrices(factors)
  by_matrix = optax.chain(
    # Coefficients for each iteration make a loop of them: unrolled, they take long to compile.
    optax.contrib.scale_by_muon(
      _ITERATIONS * (_COEFFICIENTS,),
      _ITERATIONS,
      momentum,
      weight_dimension_numbers=over_matrices(numbers),
    ),
    optax.stateless(lambda updates, _: jax.tree.map(lambda u, s: u * s, updates, scale)),
    optax.add_decayed_weights(weight_decay),
    optax.scale_by_learning_rate(learning_rate),
  )
  others = optax.adamw(learning_rate, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay)
  return optax.chain(
    _clip(clip_norm), optax.partition({'muon': by_matrix, 'adamw': others}, labels)
  )


def adafactor(
  learning_rate: float | optax.Schedule,
  specs: Any,
  *,
  decay: float = 0.8,
  clip_rms: float = 1.0,
  least_side: int = 128,
  weight_decay: float = 0.0,
  clip_norm: float = 1.0,
) -> optax.GradientTransformation:
  """Adafactor without momentum: the second moment of a matrix is kept as its row and column means.

  Each layer is treated by itself, and a projection as the matrix `[inputs, outputs]` that it is.
  The learning rate is absolute, not relative to the parameters' scale.

  Args:
    learning_rate: of all parameters.
    specs: tree of `Spec` of the parameters.
    decay: the second moment of step t decays by `1 - t ** -decay`.
    clip_rms: largest root mean square of one parameter's step over the learning rate.
    least_side: matrices with a shorter side keep their whole second moment.
    weight_decay: times the learning rate.
    clip_norm: largest global gradient norm; 0: no clipping.

  Source: arXiv 1804.04235, algorithm 4 with an absolute step size as in arXiv 2106.04560; the
  statistics are `optax.scale_by_factored_rms`.
  """
  shapes = _matrix_shapes(specs)

  def kind(spec, shape):
    factored = len(shape) - _stacked(spec) == 2 and min(shape[-2:]) >= least_side
    return ('layers' if _stacked(spec) else 'single') + (' factored' if factored else '')

  kinds = jax.tree.map(kind, specs, shapes, is_leaf=is_spec)

  def part(name):
    tx = optax.chain(
      optax.scale_by_factored_rms('factored' in name, decay, min_dim_size_to_factor=1),
      optax.clip_by_block_rms(clip_rms),
    )
    tx = _layer_by_layer(tx) if 'layers' in name else tx
    if name != 'layers factored':
      return tx
    own = jax.tree.map(
      lambda each, shape: shape if each == name else optax.MaskedNode(), kinds, shapes
    )
    return _reshaped(tx, own)

  return optax.chain(
    _clip(clip_norm),
    optax.partition({name: part(name) for name in set(jax.tree.leaves(kinds))}, kinds),
    optax.add_decayed_weights(weight_decay),
    optax.scale_by_learning_rate(learning_rate),
  )


def _clip(norm):
  return optax.clip_by_global_norm(norm) if norm else optax.identity()


def _stacked(spec):
  """Whether the first axis numbers layers."""
  return spec.axes[:1] == ('layer',)


def _size(spec, axes):
  return math.prod(spec.shape[axis] for axis in axes)


def _matrix_shapes(specs):
  """Shapes `[layers, inputs, outputs]` of projections, and of all others as they are."""

  def leaf(spec, matrix):
    if matrix is None:
      return spec.shape
    return (spec.shape[0], *(_size(spec, axes) for axes in matrix))

  return jax.tree.map(leaf, specs, matrices(specs), is_leaf=is_spec)


def _layer_by_layer(tx):
  """`tx` on each index of the leaves' first axis, as if that were a tree of its own."""
  return optax.GradientTransformation(
    jax.vmap(tx.init), lambda updates, state, params: jax.vmap(tx.update)(updates, state, params)
  )


def _reshaped(tx, shapes):
  """`tx` on leaves of other shapes; the updates get their own back."""

  def view(tree):
    return jax.tree.map(lambda x, shape: x.reshape(shape), tree, shapes)

  def update(updates, state, params):
    seen, state = tx.update(view(updates), state, view(params))
    return jax.tree.map(lambda x, u: x.reshape(u.shape), seen, updates), state

  return optax.GradientTransformation(lambda params: tx.init(view(params)), update)
