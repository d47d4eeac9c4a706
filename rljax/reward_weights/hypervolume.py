"""Hypervolume-guided weighting: steps count more while checkpoints push the Pareto front out.

`points` are `[N, K]`, K objectives that are all maximised, `where [N]` 1 on those that exist.
"""

from __future__ import annotations

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp

from rljax import stats
from rljax.controllers import Controller


def hypervolume(
  points: jax.Array, reference: jax.Array, where: jax.Array | None = None
) -> jax.Array:
  """Volume of the union of the boxes between `reference` and each point, `[]`.

  Exact, in `O(N**K)` operations and `O(N**(K - 1))` memory: K of three or four.

  Args:
    points: `[N, K]`; one that is not above `reference` in every objective adds nothing.
    reference: `[K]`.
    where: `[N]`, 1 on points that exist; None means all.
  Returns:
    0 without points.

  Source: arXiv 2509.11452, whose hypervolumn_contribution.py takes slices below the reference for
  negative volumes.

  >>> float(hypervolume(jnp.array([[1.0, 3.0], [2.0, 1.0]]), jnp.zeros(2)))
  4.0
  """
  chex.assert_rank(points, 2)
  chex.assert_shape(reference, (points.shape[-1],))
  real = stats.is_real(points[:, 0], where)
  sides = jnp.maximum(stats.as_float(points) - reference[None], 0)
  return _volume(jnp.where(real[:, None], sides, 0))


def hypervolume_gain(
  point: jax.Array, points: jax.Array, reference: jax.Array, where: jax.Array | None = None
) -> jax.Array:
  """What `point` `[K]` adds to the hypervolume of `points`, `[]`; exactly 0 if one of them is as
  good in every objective, or if it is not above `reference` in every one.

  Args as in `hypervolume`.

  >>> points = jnp.array([[1.0, 3.0], [2.0, 1.0]])
  >>> float(hypervolume_gain(jnp.array([2.0, 2.0]), points, jnp.zeros(2)))
  1.0
  """
  real = stats.is_real(points[:, 0], where)
  beaten = jnp.any(real & jnp.all(points >= point[None], axis=-1))
  # Only what the others cover of the point's own box, as the difference of two large volumes would
  # lose a small one.
  covered = hypervolume(jnp.minimum(points, point[None]), reference, where)
  gain = hypervolume(point[None], reference) - covered
  return jnp.where(beaten, 0, jnp.maximum(gain, 0))


def hypervolume_multiplier(
  reference: Sequence[float],
  capacity: int,
  *,
  maximize: Sequence[bool] | None = None,
  low: float = 0.5,
  gain: float = 1.5,
) -> Controller:
  """A factor of the rewards: `low + gain tanh(g)`, g what the latest checkpoint adds to the front.

  The state holds the points of the front, `[capacity, K]`, which of them exist, and the factor, 1
  at first. The observation is the checkpoint's performance on validation data, `[K]`, NaN if there
  is none since the last step, which changes nothing; the value is the factor `[]`. A point enters
  the front if it adds to it, and takes out those that it beats; when all places are taken it takes
  that of the point that adds least.

  Advantages over the group's deviation (GRPO) cancel the factor: use it where nothing divides, as
  in `methods.dr_grpo`, `methods.rloo` or `methods.reinforce`.

  Args:
    reference: `[K]`, performance of the initial model.
    capacity: most points of the front; the source keeps all.
    maximize: `[K]`, False for objectives that are minimised; None: all are maximised.
    low: the factor of a checkpoint that adds nothing.
    gain: what it can grow by.
  Raises:
    ValueError: `capacity` is below 1, or `maximize` is not of the length of `reference`.

  Source: arXiv 2509.11452; follows the authors' ray_trainer_vanilla.py. A checkpoint that is not
  better than the reference in every objective adds 0 there too, or is an error.
  """
  if capacity < 1:
    raise ValueError(f'capacity is a number of points and must be 1 at least, not {capacity}.')
  maximize = [True] * len(reference) if maximize is None else list(maximize)
  if len(maximize) != len(reference):
    raise ValueError(f'maximize has {len(maximize)} entries and reference {len(reference)}.')
  signs = [1.0 if up else -1.0 for up in maximize]
  corner = [sign * float(x) for sign, x in zip(signs, reference, strict=True)]

  def init():
    points = jnp.zeros((capacity, len(reference)))
    return {'points': points, 'real': jnp.zeros((capacity,)), 'factor': jnp.ones(())}

  def update(state, performance):
    chex.assert_shape(performance, (len(reference),))
    points, real = state['points'], state['real']
    sign, origin = jnp.asarray(signs, points.dtype), jnp.asarray(corner, points.dtype)
    measured = ~jnp.any(jnp.isnan(performance))
    point = jnp.where(measured, sign * performance, origin).astype(points.dtype)
    g = hypervolume_gain(point, points, origin, real)
    left = (real > 0) & ~jnp.all(points <= point[None], axis=-1)
    place = jnp.where(jnp.all(left), _least(points, left, origin), jnp.argmin(left))
    enters = measured & (g > 0)
    here = enters & (jnp.arange(capacity) == place)
    new = {
      'points': jnp.where(here[:, None], point[None], points),
      'real': jnp.where(enters, left | here, real > 0).astype(real.dtype),
      'factor': jnp.where(measured, low + gain * jnp.tanh(g), state['factor']),
    }
    return new, new['factor']

  return Controller(init, update)


def _volume(sides):
  """Volume of the union of boxes `[N, K]` at the origin."""
  if sides.shape[-1] == 1:
    return jnp.max(sides[:, 0], initial=0)
  # Between two neighbours along the first objective stand the boxes that reach that far.
  reach = jnp.sort(sides[:, 0])
  width = jnp.diff(reach, prepend=0)
  rest = jax.vmap(lambda at: _volume(jnp.where(sides[:, :1] >= at, sides[:, 1:], 0)))(reach)
  return jnp.sum(width * rest)


def _least(points, real, origin):
  """The point whose absence costs least."""
  others = real[None] & ~jnp.eye(len(real), dtype=bool)
  gains = jax.vmap(hypervolume_gain, in_axes=(0, None, None, 0))(points, points, origin, others)
  return jnp.argmin(jnp.where(real, gains, jnp.inf))
