"""Potential-based shaping: rewards of steps that leave the best policy as it is."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.shaping._steps import next_step, real_steps


def potential_shaping(
  potentials: jax.Array, where: jax.Array | None = None, *, gamma: float | jax.Array
) -> jax.Array:
  """`gamma * potential of the next state - potential of this one`, `[..., S]`; 0 after the last.

  With `gamma` 1 they add up to minus the first potential, which is the same for all responses to a
  prompt: as one number a response they leave no trace in a group, as numbers of steps they do.

  Args:
    potentials: `[..., S]`, of the states that the steps of a response start from.
    where: `[..., S]`, 1 on real steps; None means all.
    gamma: the discount that returns are taken with.
  Returns:
    `[..., S]`, to be added to the rewards of the steps; 0 where no step is.

  Source: Ng, Harada and Russell, ICML 1999.

  >>> potential_shaping(jnp.array([0.5, 0.75, 0.25]), gamma=1.0)
  Array([ 0.25, -0.5 , -0.25], dtype=float32)
  """
  potentials, real, _ = real_steps(potentials, where)
  return jnp.where(real, gamma * next_step(potentials, real) - potentials, 0)
