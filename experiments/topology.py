"""TPU slices that are not there: their devices, to compile for."""

from __future__ import annotations

import difflib
import importlib.util
import math
import os
from typing import NamedTuple

import jax

from experiments.errors import UserError

_PLANES = ('2x2', '2x4', '4x4', '4x8', '8x8', '8x16', '16x16')
_CUBES = ('2x2x1', '2x2x2', '2x2x4', '2x4x4', '4x4x4', '4x4x8', '4x8x8', '8x8x8', '8x8x16')

# Memory of a chip in GiB, and the usual slices, by generation.
_GENERATIONS = {
  'v4': (32, _CUBES),
  'v5e': (16, _PLANES),
  'v5p': (95, _CUBES),
  'v6e': (32, _PLANES),
  'tpu7x': (192, _CUBES),
}


class Topology(NamedTuple):
  """A slice.

  Attributes:
    name: as in `v5e:4x8`.
    devices: to build a mesh of, and to compile for; nothing can be run on them.
    hbm: memory of one device in bytes.
  """

  name: str
  devices: list[jax.Device]
  hbm: int


def names() -> list[str]:
  """The usual slices of every generation; the compiler takes others of their form too."""
  return [f'{kind}:{shape}' for kind, (_, shapes) in _GENERATIONS.items() for shape in shapes]


def describe(name: str) -> Topology:
  """The slice of a name such as `v5e:4x8`.

  Raises:
    UserError: libtpu is not installed, or there is no such slice.
  """
  if importlib.util.find_spec('libtpu') is None:
    raise UserError(
      "Compiling for a TPU needs libtpu, which is not installed: pip install 'rljax[tpu-aot]'. No "
      'TPU is needed.'
    )
  kind, _, shape = name.partition(':')
  if kind not in _GENERATIONS or not shape:
    near = difflib.get_close_matches(name, names(), 1)
    hint = f'Did you mean {near[0]}? ' if near else ''
    raise UserError(f'There is no topology {name!r}. {hint}Topologies: {", ".join(names())}.')
  memory, shapes = _GENERATIONS[kind]
  # What libtpu looks for on a machine with TPUs; without these it complains of what is not there.
  os.environ.setdefault('TPU_SKIP_MDS_QUERY', '1')
  os.environ.setdefault('TPU_ACCELERATOR_TYPE', 'v5litepod-8')
  os.environ.setdefault('TPU_WORKER_HOSTNAMES', 'localhost')
  os.environ.setdefault('ALLOW_MULTIPLE_LIBTPU_LOAD', '1')  # it drives no device
  from jax.experimental import topologies

  try:
    devices = topologies.get_topology_desc(platform='tpu', topology_name=name).devices
    chips = math.prod(int(n) for n in shape.split('x'))
  except (jax.errors.JaxRuntimeError, ValueError) as error:
    raise UserError(
      f'There is no topology {name!r} ({str(error).splitlines()[0]}). Those of {kind}: '
      f'{", ".join(f"{kind}:{each}" for each in shapes)}.'
    ) from error
  return Topology(name, devices, (memory << 30) * chips // len(devices))
