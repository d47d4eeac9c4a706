"""HAPO: a signal in [-1, 1] from each token's entropy, and what it steers.

The signal is 0 at a quantile of the batch's log-entropies, 1 at the largest and -1 at the smallest.
"""

from __future__ import annotations

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from rljax import stats


class EntropyStatistics(NamedTuple):
  """What a batch's log-entropies are measured by, float `[]` each.

  Attributes:
    quantile: the log-entropy that gives 0.
    std: root mean square of the distances to it.
    above: the largest such distance upwards, over `std`; 0 if there is none.
    below: the largest one downwards, over `std`; 0 if there is none.
  """

  quantile: jax.Array
  std: jax.Array
  above: jax.Array
  below: jax.Array


def no_entropy_statistics() -> EntropyStatistics:
  """The statistics before the first batch; they make every signal 0."""
  return EntropyStatistics(*(jnp.zeros((), jnp.float32) for _ in range(4)))


def entropy_statistics(
  entropy: jax.Array, where: jax.Array, *, pivot: float = 0.8, floor: float = 1e-8
) -> EntropyStatistics:
  """Statistics of the log-entropies of all tokens that count.

  Args:
    entropy: `[..., T]` in nats.
    where: `[..., T]`, 1 on the tokens that count.
    pivot: the quantile that gives 0: of n sorted values the one at `round(pivot (n - 1))`.
    floor: the least entropy.

  Returns:
    Constants; both distances 0 where all entropies are equal, everything 0 where nothing counts.

  Source: arXiv 2509.16591; follows the authors' compute_entropy_h but for a sign: there `below`
  is negative, so that no signal is (`unsigned_entropy_statistics`), against the
  paper's range of [-1, 1].
  """
  chex.assert_equal_shape([entropy, where])
  real = stats.is_real(entropy, where)
  x = jax.lax.stop_gradient(jnp.where(real, stats.as_float(entropy), 1))
  x = jnp.log(jnp.maximum(x, floor))
  n = jnp.sum(real)
  place = jnp.round(pivot * jnp.maximum(n - 1, 0).astype(x.dtype)).astype(jnp.int32)
  ordered = jnp.sort(jnp.where(real, x, jnp.inf).reshape(-1))
  quantile = jnp.where(n > 0, ordered[place], 0)
  distance = jnp.where(real, x - quantile, 0)
  std = jnp.sqrt(stats.mean(distance**2, real))
  above, below = _over(jnp.stack([jnp.max(distance), -jnp.min(distance)]), std)
  return EntropyStatistics(quantile, std, above, below)


def unsigned_entropy_statistics(
  entropy: jax.Array, where: jax.Array, *, pivot: float = 0.8, floor: float = 1e-8
) -> EntropyStatistics:
  """`entropy_statistics` with a negative `below`, as released: signals are in [0, 1].

  Args, returns and source as there.
  """
  found = entropy_statistics(entropy, where, pivot=pivot, floor=floor)
  return found._replace(below=-found.below)


def entropy_signal(
  entropy: jax.Array, statistics: EntropyStatistics, *, floor: float = 1e-8, eps: float = 0.0
) -> jax.Array:
  """Log-entropy less the quantile, over the largest such distance on its side, `[...]`.

  Args:
    entropy: `[...]` in nats.
    statistics: of the same tokens, or of an earlier batch.
    floor: the least entropy.
    eps: added to `statistics.std`.
  Returns:
    In [-1, 1], a constant.

  Source: HAPO, arXiv 2509.16591.

  >>> entropy = jnp.exp(jnp.array([[-4.0, -2.0, -1.0, 0.0, 2.0]]))
  >>> entropy_signal(entropy, entropy_statistics(entropy, jnp.ones((1, 5)), pivot=0.75))
  Array([[-1.  , -0.5 , -0.25,  0.  ,  1.  ]], dtype=float32)
  """
  x = jnp.log(jnp.maximum(jax.lax.stop_gradient(stats.as_float(entropy)), floor))
  h = _over(x - statistics.quantile, statistics.std + eps)
  # Standardised first, as the extremes are: theirs is then exactly 1 or -1.
  return jnp.clip(_over(h, jnp.where(h > 0, statistics.above, statistics.below)), -1, 1)


def adaptive_temperature(
  entropy: jax.Array,
  statistics: EntropyStatistics,
  *,
  temperature: float = 1.0,
  tau: float = 0.05,
) -> jax.Array:
  """Sampling temperature at a position: higher where the entropy is high, `[...]`.

  Args:
    entropy: `[...]` in nats, of the distribution to draw from.
    statistics: of the previous batch; before the first, `no_entropy_statistics` give `temperature`.
    temperature: where the signal is 0.
    tau: the largest relative change; the paper has 0.1.

  Source: arXiv 2509.16591; follows compute_entropy_based_temperature of the authors' sampler, whose
  floor and eps (1e-6 both) are not those of the loss.
  """
  signal = entropy_signal(entropy, statistics, floor=1e-6, eps=1e-6)
  return temperature * (1 + tau * signal)


def tempered_by_entropy(
  logits: jax.Array,
  statistics: EntropyStatistics,
  *,
  temperature: float = 1.0,
  tau: float = 0.05,
) -> jax.Array:
  """Logits over the `adaptive_temperature` of their own entropy, `[..., V]`.

  Args:
    logits: `[..., V]`, before any other temperature.
    statistics: as in `adaptive_temperature`, like the others.
    temperature: where the signal is 0.
    tau: the largest relative change.

  Source: arXiv 2509.16591.
  """
  logp = jax.nn.log_softmax(logits, axis=-1)
  entropy = -jnp.sum(jnp.where(jnp.isneginf(logp), 0.0, jnp.exp(logp) * logp), axis=-1)
  at = adaptive_temperature(entropy, statistics, temperature=temperature, tau=tau)
  return logits / at[..., None]


def clip_ranges(signal: jax.Array, low: float, high: float) -> tuple[jax.Array, jax.Array]:
  """Wider clip below 1 where the signal is not positive, above 1 where it is; `[...]` both.

  Source: arXiv 2509.16591; the authors' ada_clip.

  >>> clip_ranges(jnp.array([-1.0, 0.5]), 0.2, 0.2)
  (Array([0.4, 0.2], dtype=float32), Array([0.2, 0.3], dtype=float32))
  """
  return (
    low * (1 + jnp.where(signal > 0, 0, -signal)),
    high * (1 + jnp.where(signal > 0, signal, 0)),
  )


def redistribute(
  advantages: jax.Array, signal: jax.Array, ratio: jax.Array, low: jax.Array, high: jax.Array
) -> jax.Array:
  """`advantages * (1 + signal)` where it matters, else `advantages`; `[..., T]`, a constant.

  It matters for a positive signal outside of the neutral zone, half the clip range around 1, and
  for any other signal inside: a likely-to-fork token is pushed once it moves, a sure one is left
  alone until it does.

  Args:
    advantages: `[..., T]` or `[..., 1]`.
    signal: `[..., T]`.
    ratio: `[..., T]`.
    low: `[..., T]`, clip range below 1, from `clip_ranges`.
    high: `[..., T]`, clip range above 1.

  Source: arXiv 2509.16591; the authors' ada_advantage.
  """
  advantages, ratio = jax.lax.stop_gradient((advantages, ratio))
  neutral = (ratio > 1 - low / 2) & (ratio < 1 + high / 2)
  return advantages * jnp.where((signal > 0) ^ neutral, 1 + signal, 1)


def _over(a, b):
  """`a / b`, 0 where b is."""
  return jnp.where(b != 0, a / jnp.where(b != 0, b, 1), 0)
