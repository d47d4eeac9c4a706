"""Credit by a potential of each reasoning step, probed while the answer is not yet given.

Potentials are `[..., S]` over the steps of a completion; `where [..., S]` is 1 on real steps, which
stand first. They cost no training: a rollout appends a request for the final answer after each step
and reads how sure (`probe_confidence`) and how right (`probe_accuracy`) the policy is by then.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats
from rljax.advantages.segments import to_tokens


def probe_confidence(entropy: jax.Array, where: jax.Array | None = None) -> jax.Array:
  """Mean over probes of `exp(-mean entropy)`, in [0, 1], `[...]`.

  Args:
    entropy: `[..., N, L]`, of the policy at each token of N probes, in nats.
    where: `[..., N, L]`, 1 on tokens that were drawn; probes without one do not count.

  Source: arXiv 2601.03823. The authors' probe_mechanism_example.py takes the sum of the entropies
  of the 20 likeliest tokens instead, and divides by the length outside; the paper is followed.
  """
  real = stats.is_real(entropy, where)
  sure = jnp.exp(-stats.mean(entropy, real, axis=-1))
  return stats.mean(sure, jnp.any(real, axis=-1), axis=-1)


def probe_accuracy(probs: jax.Array, where: jax.Array | None = None) -> jax.Array:
  """Mean over probes of the mean probability of the reference answer's tokens, `[...]`.

  Args:
    probs: `[..., N, M]`, of the reference answer's tokens, fed in after each probe.
    where: `[..., N, M]`, 1 on tokens of the answer.

  Source: arXiv 2601.03823; the code differs as for `probe_confidence`.
  """
  real = stats.is_real(probs, where)
  return stats.mean(stats.mean(probs, real, axis=-1), jnp.any(real, axis=-1), axis=-1)


def step_potential(accuracy: jax.Array, confidence: jax.Array) -> jax.Array:
  """`1.5 accuracy confidence + 0.5 accuracy - confidence`, in [-1, 1]; any shape.

  1 for sure and right, -1 for sure and wrong, near 0 while exploring.

  Source: arXiv 2601.03823.

  >>> step_potential(jnp.array([1.0, 0.0, 0.0]), jnp.array([1.0, 1.0, 0.0]))
  Array([ 1., -1.,  0.], dtype=float32)
  """
  return 1.5 * accuracy * confidence + 0.5 * accuracy - confidence


def saturation(
  potentials: jax.Array,
  where: jax.Array | None = None,
  *,
  alpha: float = 0.5,
  threshold: float = 0.9,
) -> jax.Array:
  """What is left of the outcome's credit at each step, from 1 down to `1 - alpha`, `[..., S]`.

  Falls with the number of earlier steps of a potential above `threshold`: of those after which the
  solution was there already.

  Source: arXiv 2601.03823; the threshold is that of the authors' probe_mechanism_example.py.

  >>> saturation(jnp.array([[0.2, 0.95, 0.3]])).round(4)
  Array([[1.    , 1.    , 0.6839]], dtype=float32)
  """
  high = stats.is_real(potentials, where) & (potentials > threshold)
  count = (jnp.cumsum(high, axis=-1) - high).astype(stats.as_float(potentials).dtype)
  return 1 - alpha * (1 - jnp.exp(-count))


def potential_gain(potentials: jax.Array, where: jax.Array | None = None) -> jax.Array:
  """How much each step raised the potential, against all steps of the batch, `[..., S]`.

  Differences to the step before (0 for the first) are scaled to [0, 1] over the batch, put through
  `exp` and centred over the batch.

  Returns:
    `[..., S]`; 0 throughout where all differences are equal, and for steps that are not real.

  Source: arXiv 2601.03823; whether the statistics run over steps or tokens is open there, here
  they run over steps.
  """
  real = stats.is_real(potentials, where)
  potentials = jnp.where(real, stats.as_float(potentials), 0)
  before = jnp.concatenate([potentials[..., :1], potentials[..., :-1]], axis=-1)
  rise = jnp.where(real, potentials - before, 0)
  low = jnp.min(rise, initial=jnp.inf, where=real)
  high = jnp.max(rise, initial=-jnp.inf, where=real)
  spread = high > low
  scaled = (rise - jnp.where(spread, low, 0)) / jnp.where(spread, high - low, 1)
  grown = jnp.exp(jnp.where(real & spread, scaled, 0))
  return jnp.where(real & spread, grown - stats.mean(grown, real), 0)


def spae(
  centred: jax.Array,
  potentials: jax.Array,
  steps: jax.Array,
  step_id: jax.Array,
  mask: jax.Array,
  *,
  alpha: float = 0.5,
  xi: float = 0.5,
  threshold: float = 0.9,
) -> jax.Array:
  """Outcome credit that fades once the solution is there, plus credit for rises of the potential.

  Args:
    centred: `[...]`, reward less the group's mean.
    potentials: `[..., S]`.
    steps: `[..., S]`, 1 on real steps.
    step_id: int `[..., T]`; tokens after the last step belong to it.
    mask: `[..., T]`; steps of a sequence without tokens do not count.
    alpha: share of the outcome's credit that can fade.
    xi: weight of the potential's rises.
    threshold: potential at which a solution is there.
  Returns:
    `[..., T]`, whitened over the tokens of the batch. A sequence without steps has its outcome
    alone. In a group of equal rewards the rises still act.

  Source: arXiv 2601.03823; a reconstruction where its text leaves open over what the last
  standardisation runs: it is `whiten`, over tokens.
  """
  chex.assert_equal_shape([potentials, steps])
  chex.assert_equal_shape([step_id, mask])
  real = stats.is_real(potentials, steps) & jnp.any(mask > 0, axis=-1, keepdims=True)
  left = saturation(potentials, real, alpha=alpha, threshold=threshold)
  gain = potential_gain(potentials, real)
  step_id = jnp.where(mask > 0, step_id, 0)
  outcome = stats.as_float(centred)[..., None] * to_tokens(left, step_id, real, fill=1.0)
  return stats.whiten(outcome + xi * to_tokens(gain, step_id, real), mask)
