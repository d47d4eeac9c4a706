"""The fields of `config.json` that say how positions turn queries and keys."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rljax.models import rope


def read_rope(stretch: Mapping[str, Any], full: Mapping[str, Any], theta: float) -> dict[str, Any]:
  """`rope_theta` and `rope_scaling` of a `DecoderConfig`.

  Args:
    stretch: the content of `rope_scaling` or `rope_parameters`, perhaps empty.
    full: the fields of `config.json`.
    theta: the base, if `stretch` names none.

  Raises:
    ValueError: a type of scaling, or a field of it, that is not supported or is missing.
  """
  stretch = dict(stretch)
  kind = stretch.pop('rope_type', None) or stretch.get('type') or 'default'
  stretch.pop('type', None)
  theta = stretch.pop('rope_theta', None) or theta
  if stretch.pop('partial_rotary_factor', None) not in (None, 1):
    raise ValueError('partial_rotary_factor is supported at 1 only: whole heads are rotated.')
  readers = {'default': lambda *_: None, 'linear': _linear, 'llama3': _llama3, 'yarn': _yarn}
  if kind not in readers:
    raise ValueError(
      f'rope_type {kind!r} is not supported; the supported ones are {", ".join(readers)}.'
    )
  try:
    scaling = readers[kind](stretch, full.get('max_position_embeddings'))
  except KeyError as error:
    raise ValueError(f'The rope_type {kind!r} of config.json lacks {error.args[0]!r}.') from error
  if stretch:
    raise ValueError(
      f'rope_scaling fields {sorted(stretch)} are not supported for rope_type {kind!r}.'
    )
  return {'rope_theta': float(theta), 'rope_scaling': scaling}


def write_scaling(scaling: rope.Scaling | None) -> dict[str, Any] | None:
  """The `rope_scaling` of `config.json`."""
  if scaling is None:
    return None
  if isinstance(scaling, rope.Linear):
    return {'rope_type': 'linear', 'factor': scaling.factor}
  if isinstance(scaling, rope.Llama3):
    return {
      'rope_type': 'llama3',
      'factor': scaling.factor,
      'low_freq_factor': scaling.low_factor,
      'high_freq_factor': scaling.high_factor,
      'original_max_position_embeddings': scaling.original,
    }
  return {
    'rope_type': 'yarn',
    'factor': scaling.factor,
    'original_max_position_embeddings': scaling.original,
    'beta_fast': scaling.beta_fast,
    'beta_slow': scaling.beta_slow,
    'attention_factor': rope.magnitude(scaling),
    'truncate': scaling.truncate,
  }


def _linear(stretch, longest):
  return rope.Linear(float(stretch.pop('factor')))


def _llama3(stretch, longest):
  original = stretch.pop('original_max_position_embeddings', None) or longest
  if original is None:
    raise KeyError('original_max_position_embeddings')
  names = ('factor', 'low_freq_factor', 'high_freq_factor')
  return rope.Llama3(*(float(stretch.pop(name)) for name in names), original)


def _yarn(stretch, longest):
  original = stretch.pop('original_max_position_embeddings', None) or longest
  if original is None:
    raise KeyError('original_max_position_embeddings')
  factor = stretch.pop('factor')
  factor = longest / original if factor is None else float(factor)
  magnitude = stretch.pop('attention_factor', None)
  scales = [stretch.pop(name, None) for name in ('mscale', 'mscale_all_dim')]
  if magnitude is None and all(scales):
    above, below = (1.0 + 0.1 * scale * math.log(max(factor, 1.0)) for scale in scales)
    magnitude = above / below
  return rope.Yarn(
    factor,
    original,
    beta_fast=float(stretch.pop('beta_fast', None) or 32),
    beta_slow=float(stretch.pop('beta_slow', None) or 1),
    magnitude=magnitude,
    truncate=stretch.pop('truncate', True),
  )
