"""VeRPO: partial success of code, in which a test is worth more the rarer it is passed.

`passes [..., G, S, U]` holds what became of U unit tests after each of S turns of the G rollouts of
a prompt: 1 passed, 0 failed, negative where there is no such turn or test. `where [..., G]` is 1 on
real rollouts (None: all). A test exists if any turn of the group has run it.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def verpo_weights(
  passes: jax.Array,
  where: jax.Array | None = None,
  *,
  alpha: float,
  sigma: float,
  delta: float,
) -> jax.Array:
  """Weight of each unit test of a prompt, `[..., U]`: large for one that is hard and one of its
  kind.

  With the pass rate p of a test over all turns of the group: `exp(-alpha p)` over `delta` plus the
  number of tests of about that pass rate, where another counts `exp(-(p - p')^2 / (2 sigma^2))`.

  Args:
    passes: `[..., G, S, U]`.
    where: `[..., G]`, 1 on real rollouts.
    alpha: how much harder tests are favoured; no value was seen of any of the three.
    sigma: distance of pass rates at which tests stop to count as alike.
    delta: added to the number.
  Returns:
    `[..., U]`; equal for tests of equal pass rates, 0 for tests that nobody ran.

  Source: arXiv 2601.03525, equations 3 and 7 to 9 as a note gives them.
  """
  run = _run(passes, where)
  rate = stats.mean(passes, run, axis=(-3, -2))
  exists = jnp.any(run, axis=(-3, -2))
  gap = rate[..., :, None] - rate[..., None, :]
  alike = jnp.exp(-(gap**2) / (2 * sigma**2))
  density = jnp.sum(jnp.where(exists[..., None, :], alike, 0), axis=-1)
  # A test counts itself, so that the density is 1 at least where there is one.
  return jnp.where(exists, jnp.exp(-alpha * rate) / jnp.where(exists, density + delta, 1), 0)


def verpo_turns(
  passes: jax.Array,
  where: jax.Array | None = None,
  *,
  alpha: float,
  sigma: float,
  delta: float,
) -> jax.Array:
  """Reward of each turn, `[..., G, S]`: the sum of the `verpo_weights` of the tests that it passes.

  Args and source as there (equation 10); 0 where there is no turn.
  """
  weights = verpo_weights(passes, where, alpha=alpha, sigma=sigma, delta=delta)
  run = _run(passes, where)
  return jnp.sum(jnp.where(run, weights[..., None, None, :] * passes, 0), axis=-1)


def verpo_outcome(solved: jax.Array, turns: jax.Array, *, gamma: float) -> jax.Array:
  """Reward of a whole rollout, any shape: `gamma**turns` where it solved the problem, else 0.

  Args:
    solved: above 0 where all tests pass in the end.
    turns: number of turns.
    gamma: discount of a turn; the source's value was not seen.

  Source: arXiv 2601.03525, equation 11 as a note gives it.

  >>> verpo_outcome(jnp.array([1.0, 1.0, 0.0]), jnp.array([1.0, 2.0, 1.0]), gamma=0.5)
  Array([0.5 , 0.25, 0.  ], dtype=float32)
  """
  chex.assert_equal_shape([solved, turns])
  return jnp.where(solved > 0, jnp.power(gamma, stats.as_float(turns)), 0)


def _run(passes, where):
  """Which tests were run, bool `[..., G, S, U]`."""
  chex.assert_shape(passes, (..., None, None, None))
  run = passes >= 0
  return run if where is None else run & (where > 0)[..., None, None]
