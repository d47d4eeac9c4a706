"""SEELE: how long a hint must be for half of the answers to be right.

The success of a prompt as a function of the share p of its solution that is given away is taken to
be a logistic curve with a floor, `f(p) = b + (1 - b) / (1 + exp(-k (p + mu)))`. After every round
of answers it is fitted to the rounds so far, and the next hint is where it reaches the target.
`[P]` is prompts, `[P, M]` their rounds.
"""

from __future__ import annotations

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from rljax import stats
from rljax.controllers import Controller

_SLOPES, _MIDDLES = 25, 121  # points of a grid; odd, so that it contains its centre
_LEVELS = 16  # of refinement, each by a factor of 2
_SLOWEST = 0.1  # a k below which the curve is a straight line on [0, 1]


class Fit(NamedTuple):
  """A fitted curve: its parameters k, mu and b, each `[P]`."""

  k: jax.Array
  mu: jax.Array
  b: jax.Array


def response_curve(fit: Fit, rate: jax.Array) -> jax.Array:
  """Share of right answers at a hint rate, `[P]`.

  Source: arXiv 2509.06923, equation 12.
  """
  return fit.b + (1 - fit.b) * jax.nn.sigmoid(fit.k * (rate + fit.mu))


def seele_fit(
  rates: jax.Array,
  accuracies: jax.Array,
  where: jax.Array | None = None,
  *,
  k_max: float = 50.0,
) -> Fit:
  """The curve with the least squared error through each prompt's rounds.

  Rounds with equal rates count as one, of their mean accuracy. The points (0, 0) and (1, 1) are
  added where that rate was not measured, so even one round determines a curve.

  Args:
    rates: `[P, M]`, share of the solution that was given away, in [0, 1].
    accuracies: `[P, M]`, share of right answers.
    where: `[P, M]`, 1 on rounds that took place; None means all.
    k_max: bound of the curve's steepness; k is at least 0.1, -mu in [-1, 2], b in [0, 1).
  Returns:
    k, mu and b, each `[P]`. Found on a grid that is refined around its best point, as the error has
    flat valleys; b, in which the error is quadratic, is solved for.

  Source: arXiv 2509.06923, equations 12 and 13; the authors' code could not be had.
  """
  chex.assert_equal_shape([rates, accuracies])
  chex.assert_rank(rates, 2)
  real = stats.is_real(rates, where)
  rates, accuracies = (jnp.where(real, stats.as_float(x), 0) for x in (rates, accuracies))
  ends = jnp.zeros_like(rates, shape=(rates.shape[0], 1))
  rates = jnp.concatenate([rates, ends, ends + 1], axis=-1)
  accuracies = jnp.concatenate([accuracies, ends, ends + 1], axis=-1)
  unmeasured = [~jnp.any(real & (rates[:, :-2] == p), -1, keepdims=True) for p in (0, 1)]
  real = jnp.concatenate([real, *unmeasured], axis=-1)

  same = (rates[:, :, None] == rates[:, None, :]) & real[:, None, :]
  means = stats.mean(jnp.broadcast_to(accuracies[:, None, :], same.shape), same, axis=-1)
  earlier = jnp.tril(jnp.ones_like(same), -1)
  first = real & ~jnp.any(same & earlier, axis=-1)
  return jax.vmap(lambda p, y, w: _least_squares(p, y, w, k_max))(rates, means, first)


def seele_inverse(fit: Fit, *, target: float = 0.5) -> jax.Array:
  """The hint rate at which the curve reaches `target`, in [0, 1], `[P]`.

  0 where the curve's floor is there already, and where it would be reached below 0; 1 where no hint
  suffices.

  Args:
    fit: k, mu and b, each `[P]`.
    target: share of right answers to aim for.

  Source: arXiv 2509.06923, section 4.

  >>> seele_inverse(Fit(jnp.array([10.0, 10.0]), jnp.array([-0.5, -0.5]), jnp.array([0.0, 0.6])))
  Array([0.5, 0. ], dtype=float32)
  """
  above = target - fit.b
  odds = (1 - target) / jnp.where(above > 0, above, 1)
  rate = jnp.clip(-fit.mu - jnp.log(odds) / fit.k, 0, 1)
  return jnp.where(above > 0, rate, 0)


def seele_rate(
  rates: jax.Array,
  accuracies: jax.Array,
  where: jax.Array | None = None,
  *,
  target: float = 0.5,
  k_max: float = 50.0,
) -> jax.Array:
  """The hint rate of each prompt's next round, `[P]`: `seele_inverse` of `seele_fit`.

  Args:
    rates: `[P, M]`, of the rounds so far.
    accuracies: `[P, M]`.
    where: `[P, M]`, 1 on rounds that took place.
    target: share of right answers to aim for.
    k_max: bound of the curve's steepness.

  Source: arXiv 2509.06923.

  >>> rates, accuracies = jnp.array([[0.9, 0.4]]), jnp.array([[1.0, 0.25]])
  >>> bool(0.4 < seele_rate(rates, accuracies)[0] < 0.9)
  True
  """
  return seele_inverse(seele_fit(rates, accuracies, where, k_max=k_max), target=target)


def seele_start(stored: jax.Array, lengths: jax.Array) -> jax.Array:
  """The hint rate of each prompt's first round: the stored one, else all but one token.

  Args:
    stored: `[P]`, the prompt's last rate, NaN where it was never asked (`seele_memory`).
    lengths: `[P]`, of the solutions, in tokens.
  Returns:
    `[P]`; 0 for an empty solution.

  Source: arXiv 2509.06923.

  >>> seele_start(jnp.array([jnp.nan, 0.3]), jnp.array([8, 8]))
  Array([0.875, 0.3  ], dtype=float32)
  """
  chex.assert_equal_shape([stored, lengths])
  tokens = jnp.maximum(lengths, 1).astype(stored.dtype)
  return jnp.where(jnp.isnan(stored), (tokens - 1) / tokens, stored)


def seele_memory(prompts: int) -> Controller:
  """The last hint rate of every prompt of a data set: state `[prompts]`, NaN where never asked.

  The observation is `(prompt_id, rate)`, int and float `[P]`, ids distinct: the rates that the
  prompts ended their rounds with. The value is the new state; `seele_start` reads its entries.

  Args:
    prompts: size of the data set.
  """

  def update(state, observation):
    prompt_id, rate = observation
    state = state.at[prompt_id].set(rate)
    return state, state

  return Controller(lambda: jnp.full((prompts,), jnp.nan), update)


def _least_squares(rates, accuracies, real, k_max):
  """k, mu and b of the best curve through the real points, `[M]`."""

  def error(log_k, middle):
    k = jnp.exp(log_k)
    # Both tails of the sigmoid: 1 - s has no digits left where s is 1.
    s, rest = (jax.nn.sigmoid(sign * k * (rates - middle)) for sign in (1, -1))
    short = jnp.where(accuracies > 0.5, rest - (1 - accuracies), accuracies - s)
    weight = jnp.sum(jnp.where(real, rest**2, 0))
    b = jnp.sum(jnp.where(real, short * rest, 0)) / jnp.where(weight > 0, weight, 1)
    b = jnp.clip(jnp.where(weight > 0, b, 0), 0, 1 - 1e-6)
    return jnp.sum(jnp.where(real, (short - b * rest) ** 2, 0)), b

  on_grid = jax.vmap(jax.vmap(error, (None, 0)), (0, None))
  low, high = jnp.log(_SLOWEST), jnp.log(k_max)

  def refine(best, scale):
    log_k, middle, _ = best
    slopes, offsets = (jnp.linspace(-1, 1, n, dtype=rates.dtype) for n in (_SLOPES, _MIDDLES))
    ks = jnp.clip(log_k + scale * slopes * (high - low) / 2, low, high)
    middles = jnp.clip(middle + scale * offsets * 1.5, -1, 2)
    errors, b = on_grid(ks, middles)
    i, j = jnp.unravel_index(jnp.argmin(errors), errors.shape)
    return (ks[i], middles[j], b[i, j]), None

  start = ((low + high) / 2, jnp.full_like(low, 0.5), jnp.zeros_like(low))
  start = jax.tree.map(lambda x: x.astype(rates.dtype), start)
  scales = 2.0 ** -jnp.arange(_LEVELS, dtype=rates.dtype)
  (log_k, middle, b), _ = jax.lax.scan(refine, start, scales)
  return Fit(jnp.exp(log_k), -middle, b)
