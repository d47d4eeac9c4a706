"""Tournaments inside a group: scores of pairs to places and to rewards.

`scores [..., G, G]` holds what a judge gives in every pair: `scores[i, j]` is what i gets against
j, both orders asked and added, so that a judge who favours a place favours nobody. The diagonal is
never read. `where [..., G]` is 1 on real members (None: all). Everything here is a function of the
full matrix; `rljax.verifiers.arena` asks a judge for the matches of a tournament alone.

A reward of these is not yet an advantage: the authors standardise it with `advantages.grpo`, after
which nothing must standardise it again.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def round_robin(scores: jax.Array, where: jax.Array | None = None) -> jax.Array:
  """Points of everybody against everybody, `[..., G]`: 1 for a win and 1/2 for a draw.

  Source: arXiv 2601.06487; qqr's RoundRobinGroupRewardModel, which goes on with `rank_rewards`.

  >>> round_robin(jnp.array([[[0.0, 5.0, 5.0], [3.0, 0.0, 4.0], [5.0, 4.0, 0.0]]]))
  Array([[1.5, 0.5, 1. ]], dtype=float32)
  """
  scores, real = _matrix(scores, where)
  against = jnp.swapaxes(scores, -1, -2)
  points = (scores > against) + 0.5 * (scores == against)
  itself = jnp.eye(scores.shape[-1], dtype=bool)
  meet = real[..., :, None] & real[..., None, :] & ~jnp.broadcast_to(itself, scores.shape)
  return jnp.sum(jnp.where(meet, points.astype(scores.dtype), 0), axis=-1)


def anchor(scores: jax.Array, where: jax.Array | None = None) -> jax.Array:
  """What everybody gets against the first member, `[..., G]`; the first one the mean of its own.

  Source: arXiv 2601.06487; qqr's AnchorBasedRankingGroupRewardModel, which goes on with
  `rank_rewards`.

  >>> anchor(jnp.array([[[0.0, 5.0, 6.0], [3.0, 0.0, 4.0], [7.0, 4.0, 0.0]]]))
  Array([[5.5, 3. , 7. ]], dtype=float32)
  """
  scores, real = _matrix(scores, where)
  place = jax.lax.broadcasted_iota(jnp.int32, real.shape, real.ndim - 1)
  first = jnp.argmax(real, axis=-1)[..., None]
  others = real & (place != first)
  column = jnp.take_along_axis(scores, first[..., None, :], axis=-1)[..., 0]
  row = jnp.take_along_axis(scores, first[..., None], axis=-2)[..., 0, :]
  mean = stats.mean(row, others, axis=-1, keepdims=True)
  return jnp.where(others, column, jnp.where(real, mean, 0))


def single_elimination(scores: jax.Array, where: jax.Array | None = None) -> jax.Array:
  """Places in a knock-out tournament, int `[..., G]`, 0 for the champion.

  Members are seeded by `anchor`, which counts as their first match, and sit in the usual bracket of
  the next power of two, so that the best meet late. Missing seeds are taken out of it and the rest
  moves together; the last of an odd number goes on without a match and sits first in the next
  round. The loser leaves; of a draw the one who sits second. Who left in the same round stands by
  the mean of what it got in all its matches, the one who sat earlier first where these are equal.

  Args:
    scores: `[..., G, G]`.
    where: `[..., G]`, 1 on real members.
  Returns:
    `[..., G]`; 0 for one member alone, and where not real. `place_rewards` makes rewards of them.

  Source: arXiv 2601.06487; follows qqr's SingleEliminationGroupRewardModel. Where the group is no
  power of two, moving together gives the nights off to others than the best seeds, there as here.

  >>> strength = jnp.arange(4.0)[None, :, None] * jnp.ones((1, 4, 4))
  >>> single_elimination(strength)
  Array([[3, 2, 1, 0]], dtype=int32)
  """
  scores, real = _matrix(scores, where)
  size = scores.shape[-1]
  seeds = anchor(scores, real)
  tables = scores.reshape(-1, size, size), seeds.reshape(-1, size), real.reshape(-1, size)
  return jax.vmap(_knock_out)(*tables).reshape(real.shape)


def rank_rewards(values: jax.Array, where: jax.Array | None = None) -> jax.Array:
  """Rewards in [0, 1] by rank, equals sharing the better one: `(last - rank) / (last - 1)`.

  `rank` is 1 plus the number of members with more, `last` the largest one that occurs.

  Args:
    values: `[..., G]`, more is better: of `round_robin` or `anchor`.
    where: `[..., G]`, 1 on real members.
  Returns:
    `[..., G]`; all 0 where all are equal.

  Source: arXiv 2601.06487; qqr's round_robin.py and anchor.py.

  >>> rank_rewards(jnp.array([[2.5, 0.5, 2.5, 0.0]]))
  Array([[1.        , 0.33333334, 1.        , 0.        ]], dtype=float32)
  """
  chex.assert_shape(values, (..., None, None))
  values, real = stats.as_float(values), stats.is_real(values, where)
  more = (values[..., None, :] > values[..., :, None]) & real[..., None, :]
  rank = jnp.where(real, jnp.sum(more, axis=-1), 0).astype(values.dtype)
  last = jnp.max(rank, axis=-1, keepdims=True)
  return jnp.where(real & (last > 0), (last - rank) / jnp.maximum(last, 1), 0)


def place_rewards(places: jax.Array, where: jax.Array | None = None) -> jax.Array:
  """Rewards from 1 for place 0 down to 0 for the last of N places: `1 - place / (N - 1)`.

  Args:
    places: `[..., G]`.
    where: `[..., G]`, 1 on real members.
  Returns:
    `[..., G]`; 0 for one member alone, for which the source divides by 0.

  Source: arXiv 2601.06487; qqr's single_elimination.py.

  >>> place_rewards(jnp.array([[4, 2, 1, 0, 3]]))
  Array([[0.  , 0.5 , 0.75, 1.  , 0.25]], dtype=float32)
  """
  chex.assert_shape(places, (..., None, None))
  places, real = stats.as_float(places), stats.is_real(places, where)
  last = jnp.sum(real, axis=-1, keepdims=True).astype(places.dtype) - 1
  return jnp.where(real & (last > 0), 1 - places / jnp.maximum(last, 1), 0)


def _matrix(scores, where):
  chex.assert_shape(scores, (..., None, None))
  chex.assert_equal(scores.shape[-1], scores.shape[-2])
  return stats.as_float(scores), stats.is_real(scores[..., 0], where)


def _bracket(size):
  """Seeds in the order in which they sit, the first `size` of them."""
  seats = [0]
  while len(seats) < size:
    seats = [seed for high in seats for seed in (high, 2 * len(seats) - 1 - high)]
  # Less its missing seeds, a bracket is the smaller bracket less its own: this serves any number.
  return [seed for seed in seats if seed < size]


def _knock_out(scores, seeds, real):
  """Places of one group: `scores [G, G]`, `seeds [G]`, `real [G]`."""
  size = real.shape[0]
  active = jnp.sum(real)
  bracket = jnp.array(_bracket(size))
  by_seed = jnp.lexsort((-seeds, ~real))
  # Who sits where: real members in the order of the bracket, then the others.
  seats = by_seed[bracket[jnp.argsort(bracket >= active, stable=True)]]
  points, matches = seeds, jnp.ones_like(seeds)
  left, match = jnp.zeros_like(seats), jnp.zeros_like(seats)  # in which round, in which match
  pair = jnp.arange(size // 2)
  rounds = max(size - 1, 0).bit_length()
  for number in range(1, rounds + 1):
    one, other = seats[0 : 2 * len(pair) : 2], seats[1 : 2 * len(pair) : 2]
    held = pair < active // 2
    first, second = scores[one, other], scores[other, one]
    for player, got in ((one, first), (other, second)):
      points = points.at[player].add(jnp.where(held, got, 0))
      matches = matches.at[player].add(held.astype(matches.dtype))
    winner, loser = (jnp.where(first >= second, a, b) for a, b in ((one, other), (other, one)))
    nobody = jnp.where(held, loser, size)
    left, match = (x.at[nobody].set(y, mode='drop') for x, y in ((left, number), (match, pair)))
    odd = active % 2
    bye = seats[jnp.maximum(active - 1, 0)]
    seat = jnp.where(held, pair + odd, size)
    seats = jnp.where(odd > 0, seats.at[0].set(bye), seats).at[seat].set(winner, mode='drop')
    active = active // 2 + odd
  left = jnp.where(real & (left == 0), rounds + 1, left)
  order = jnp.lexsort((match, -points / matches, -left))
  return jnp.where(real, jnp.argsort(order), 0).astype(jnp.int32)
