"""Router-R1: what the models that were asked cost, measured by what they cost lately."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats
from rljax.controllers import Controller


def router_savings(
  *, window: int = 1000, low: float = 0.05, high: float = 0.95, eps: float = 1e-8
) -> Controller:
  """How cheap each response is: state is the roots of the last `window` costs, and their number.

  The observation is the costs of a batch, `[*N]`, at least 0; the value `[*N]` in [0, 1]: 1 for a
  root at or below the `low` quantile of the window (linear between entries), 0 at or above the
  `high` one, evenly in between. 0.5 where the quantiles are less than `eps` apart, as for the first
  batch.

  A batch is measured by the window as it was before it, and then takes its place there, the oldest
  costs making room; so the order of a batch does not matter to its rewards. The source pushes each
  cost before it is measured, one by one, and so lets the later ones of a batch see the earlier.

  Args:
    window: number of costs remembered.
    low: quantile of what is cheap.
    high: quantile of what is dear.
    eps: the least distance that is one.
  Raises:
    ValueError: `window` is below 1.

  Source: normalize_reward of the authors' main_ppo.py (github.com/ulab-uiuc/Router-R1), but for the
  order.

  >>> controller = router_savings(window=4, low=0.0, high=1.0)
  >>> state, _ = controller.update(controller.init(), jnp.array([1.0, 9.0]))
  >>> controller.update(state, jnp.array([1.0, 4.0, 25.0]))[1]
  Array([1. , 0.5, 0. ], dtype=float32)
  """
  if window < 1:
    raise ValueError(f'window is a number of costs and must be 1 at least, not {window}.')

  def init():
    return {'roots': jnp.zeros((window,)), 'seen': jnp.zeros((), jnp.int32)}

  def update(state, costs):
    past, seen = state['roots'], state['seen']
    roots = jnp.sqrt(stats.as_float(costs)).astype(past.dtype)
    cheap, dear = _quantiles(past, seen, (low, high))
    apart = dear - cheap >= eps
    scaled = (roots - cheap) / jnp.where(apart, dear - cheap, 1)
    value = jnp.where(apart, 1 - jnp.clip(scaled, 0, 1), 0.5)
    past = jnp.concatenate([past, roots.reshape(-1)])[-window:]
    return {'roots': past, 'seen': jnp.minimum(seen + roots.size, window)}, value

  return Controller(init, update)


def router_r1(
  outcome: jax.Array, savings: jax.Array, well_formed: jax.Array, *, alpha: float = 0.0
) -> jax.Array:
  """-1 for a malformed response, 0 for a wrong answer, else outcome and savings mixed.

  Args:
    outcome: exact match or F1 in [0, 1], any shape; 0 is a wrong answer.
    savings: of `router_savings`, the same shape.
    well_formed: above 0 where the format is kept, the same shape.
    alpha: share of the savings; 0, as in the published script, leaves them out.

  Source: compute_score_em of the authors' qa_em.py (github.com/ulab-uiuc/Router-R1).

  >>> ones = jnp.ones(3)
  >>> router_r1(jnp.array([1.0, 0.0, 1.0]), 0.5 * ones, jnp.array([1.0, 1.0, 0.0]), alpha=0.5)
  Array([ 0.75,  0.  , -1.  ], dtype=float32)
  """
  chex.assert_equal_shape([outcome, savings, well_formed])
  outcome = stats.as_float(outcome)
  mixed = jnp.where(outcome > 0, (1 - alpha) * outcome + alpha * savings, 0)
  return jnp.where(well_formed > 0, mixed, -1)


def _quantiles(past, seen, levels):
  """Quantiles of the last `seen` entries, linear between them; 0 where there are none."""
  place = jnp.arange(past.shape[0])
  ordered = jnp.sort(jnp.where(place >= past.shape[0] - seen, past, jnp.inf))
  last = jnp.maximum(seen - 1, 0)

  def quantile(level):
    at = level * last.astype(past.dtype)
    lower = jnp.floor(at).astype(seen.dtype)
    a, b = ordered[lower], ordered[jnp.minimum(lower + 1, last)]
    return jnp.where(seen > 0, a + (at - jnp.floor(at)) * jnp.where(seen > 0, b - a, 0), 0)

  return [quantile(level) for level in levels]
