"""Rotary position embedding (RoFormer, arXiv 2104.09864) and the ways to stretch it.

A stretch is a record of numbers; `frequencies` computes from it, on the host in float64, the angle
by which one step of the position turns each pair of a head.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Linear(NamedTuple):
  """Positions divided by `factor` (position interpolation, arXiv 2306.15595)."""

  factor: float


class Llama3(NamedTuple):
  """Llama 3.1's stretch: only pairs of long wavelength are slowed down, with a ramp between.

  Attributes:
    factor: by which wavelengths above `original / low_factor` are lengthened.
    low_factor: turns within `original` positions below which a pair is lengthened in full.
    high_factor: turns above which it is left as it is.
    original: longest position of pretraining.
  """

  factor: float
  low_factor: float
  high_factor: float
  original: int


class Yarn(NamedTuple):
  """YaRN (arXiv 2309.00071): a ramp over the pairs' indices, and warmer attention.

  Attributes:
    factor: by which slow pairs are lengthened.
    original: longest position of pretraining.
    beta_fast: turns within `original` positions above which a pair is left as it is.
    beta_slow: turns below which it is lengthened in full.
    magnitude: of cos and sin; None: `0.1 log(factor) + 1`.
    truncate: whether the ramp's ends are rounded to whole indices.
  """

  factor: float
  original: int
  beta_fast: float = 32.0
  beta_slow: float = 1.0
  magnitude: float | None = None
  truncate: bool = True


Scaling = Linear | Llama3 | Yarn


def frequencies(width: int, theta: float, scaling: Scaling | None = None) -> np.ndarray:
  """Angle in radians per position of each pair of a head, float32 `[width / 2]`.

  Follows the Hugging Face implementations of the scalings (transformers.modeling_rope_utils).
  """
  plain = theta ** (-np.arange(0, width, 2) / width)
  if isinstance(scaling, Linear):
    plain = plain / scaling.factor
  elif isinstance(scaling, Llama3):
    turns = scaling.original * plain / (2 * math.pi)  # within the positions of pretraining
    kept = (turns - scaling.low_factor) / (scaling.high_factor - scaling.low_factor)
    plain = _mix(plain, plain / scaling.factor, np.clip(kept, 0, 1))
  elif isinstance(scaling, Yarn):
    plain = _mix(plain, plain / scaling.factor, 1 - _yarn_ramp(width, theta, scaling))
  return plain.astype(np.float32)


def magnitude(scaling: Scaling | None) -> float:
  """What cos and sin are multiplied by; 1 but for YaRN."""
  if not isinstance(scaling, Yarn):
    return 1.0
  if scaling.magnitude is not None:
    return scaling.magnitude
  return 0.1 * math.log(scaling.factor) + 1.0 if scaling.factor > 1 else 1.0


def angles(
  positions: jax.Array, width: int, theta: float, scaling: Scaling | None = None
) -> tuple[jax.Array, jax.Array]:
  """cos and sin, float32 `[B, L, 1, width / 2]`, of positions `[B, L]`; padding counts as 0."""
  steps = frequencies(width, theta, scaling)
  turned = jnp.maximum(positions, 0)[..., None, None] * steps[None, None, None]
  cos, sin, size = jnp.cos(turned), jnp.sin(turned), magnitude(scaling)
  return (cos, sin) if size == 1 else (cos * size, sin * size)


def rotate(x: jax.Array, rope: tuple[jax.Array, jax.Array]) -> jax.Array:
  """Rotates the pairs (i, i + width / 2) of `x [B, L, heads, width]`, the Hugging Face pairing."""
  cos, sin = rope
  first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
  return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1).astype(
    x.dtype
  )


def _mix(a, b, share):
  return share * a + (1 - share) * b


def _yarn_ramp(width, theta, scaling):
  """0 where a pair is left as it is, 1 where it is lengthened in full, `[width / 2]`."""

  def index(turns):
    """The pair, a real number, that makes so many turns within the original positions."""
    return width * math.log(scaling.original / (turns * 2 * math.pi)) / (2 * math.log(theta))

  low, high = index(scaling.beta_fast), index(scaling.beta_slow)
  if scaling.truncate:
    low, high = math.floor(low), math.ceil(high)
  low, high = max(low, 0), min(high, width - 1)
  return np.clip((np.arange(width // 2) - low) / max(high - low, 1e-3), 0, 1)
