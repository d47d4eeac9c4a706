"""RepExp: a bonus for completions whose representation the others of the group do not span.

`features [..., G, D]` are one vector a completion, such as the mean of its hidden states; they are
constants here.
"""

from __future__ import annotations

import math

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def repexp_bonus(
  features: jax.Array, where: jax.Array | None = None, *, lam: float = 0.01
) -> jax.Array:
  """`h_i^T (lam I + sum_j h_j h_j^T)^-1 h_i` of each member of a group: its ridge leverage.

  It is found as the i-th coefficient of the ridge regression of `h_i` on all members, so that D may
  be large and nothing is squared or inverted.

  Args:
    features: `[..., G, D]`.
    where: `[..., G]`, 1 on real members.
    lam: above 0; the smaller, the nearer are independent features to a bonus of 1.
  Returns:
    `[..., G]` in [0, 1]. Equal features h: `1 / (G + lam / |h|^2)` each. A zero feature and a
    member that is not real: 0.
  Raises:
    ValueError: `lam` is not positive.

  Source: arXiv 2510.11686; lam is that of the authors' recipe (verl, recipe/rep_exp), which centres
  the features of a group before.

  >>> repexp_bonus(jnp.array([[[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]]), lam=1.0).round(3)
  Array([[0.5  , 0.333, 0.333]], dtype=float32)
  """
  h = _rows(features, where, lam)
  columns = jnp.swapaxes(h, -1, -2)  # [..., D, G]
  size, dim = h.shape[-2:]
  ridge = jnp.broadcast_to(math.sqrt(lam) * jnp.eye(size, dtype=h.dtype), (*h.shape[:-1], size))
  q, r = jnp.linalg.qr(jnp.concatenate([columns, ridge], axis=-2))
  right = jnp.einsum('...dk,...di->...ki', q[..., :dim, :], columns, precision='highest')
  coefficients = jax.scipy.linalg.solve_triangular(r, right)
  return jnp.clip(jnp.diagonal(coefficients, axis1=-2, axis2=-1), 0, 1)


def sparse_projection(key: jax.Array, features: jax.Array, *, dimensions: int = 512) -> jax.Array:
  """Features in fewer dimensions by a random matrix that is mostly 0, `[..., dimensions]`.

  An entry is `+-sqrt(sqrt(D) / dimensions)`, each with probability `1 / (2 sqrt(D))`, so that
  squared lengths are kept on average.

  Args:
    key: PRNG key; the matrix is the same for all vectors of a call.
    features: `[..., D]`.
    dimensions: of the result; 32 or 128 in the published runs, 512 the code's default.

  Source: as scikit-learn's SparseRandomProjection, which the authors of arXiv 2510.11686 use.
  """
  features = stats.as_float(features)
  shape = (features.shape[-1], dimensions)
  density = 1 / math.sqrt(shape[0])
  u = jax.random.uniform(key, shape, features.dtype)
  signs = (u < density / 2).astype(u.dtype) - (u >= 1 - density / 2).astype(u.dtype)
  matrix = signs / math.sqrt(density * dimensions)
  return jnp.matmul(features, matrix, precision='highest')


def repexp_select(
  features: jax.Array, where: jax.Array | None = None, *, count: int, lam: float = 0.01
) -> jax.Array:
  """Which candidates to look at, one after the other the least explored by those before it.

  With `L = I / lam` at first, the candidate of the largest `h^T L h` is taken, the first of equal
  ones, and `L <- L - L h h^T L / (1 + h^T L h)`.

  Args:
    features: `[..., N, D]`, of N candidates.
    where: `[..., N]`, 1 on real candidates.
    count: how many to take, each at most once.
    lam: above 0.
  Returns:
    int32 `[..., count]`, places in order of their choice; -1 once there is none left.
  Raises:
    ValueError: `lam` is not positive.

  Source: the test-time selection of arXiv 2510.11686.

  >>> repexp_select(jnp.array([[2.0, 0.0], [1.9, 0.0], [0.0, 1.0]]), count=2)
  Array([0, 2], dtype=int32)
  """
  h = _rows(features, where, lam)
  real = stats.is_real(h[..., 0], where)
  # lam H L H^T, which is all of L that the candidates see.
  spread = jnp.einsum('...nd,...md->...nm', h, h, precision='highest')

  def take(carry, _):
    spread, free = carry
    value = jnp.where(free, jnp.diagonal(spread, axis1=-2, axis2=-1), -jnp.inf)
    best = jnp.argmax(value, axis=-1)
    chosen = jnp.any(free, axis=-1)
    at = jnp.broadcast_to(best[..., None, None], (*spread.shape[:-1], 1))
    column = jnp.take_along_axis(spread, at, axis=-1)  # [..., N, 1]
    own = jnp.take_along_axis(column, best[..., None, None], axis=-2)
    spread = spread - column * jnp.swapaxes(column, -1, -2) / (lam + jnp.maximum(own, 0))
    free &= jax.lax.broadcasted_iota(best.dtype, free.shape, free.ndim - 1) != best[..., None]
    return (spread, free), jnp.where(chosen, best, -1).astype(jnp.int32)

  _, places = jax.lax.scan(take, (spread, real), None, length=count)
  return jnp.moveaxis(places, 0, -1)


def _rows(features, where, lam):
  """Features as floats without gradient, 0 where nobody is."""
  if lam <= 0:
    raise ValueError(f'lam is {lam}; it must be positive.')
  chex.assert_shape(features, (..., None, None))
  h = jax.lax.stop_gradient(stats.as_float(features))
  return jnp.where(stats.is_real(h[..., 0], where)[..., None], h, 0)
