"""Our side of a benchmark, in a process of its own: `python -m experiments.bench.worker NAME JSON`.

The harness starts it; a benchmark's `build(workload)` gives what is run.
"""

from __future__ import annotations

import importlib
import os
import platform
import sys

import jax
from ml_collections import ConfigDict

from experiments.bench.peers import serve


def build(name: str):
  """What `serve` runs: a benchmark's work, and the machine that it runs on."""
  module = importlib.import_module(f'experiments.bench.{name}')
  about = {'device': device(), 'jax': jax.__version__, 'python': platform.python_version()}
  repeat = module.build(ConfigDict(serve.workload()))

  def run():
    return {**repeat(), **device_memory()}

  return run, about


def device() -> str:
  """Kind of the device; for a CPU the cores that this process may use."""
  first = jax.devices()[0]
  if first.platform != 'cpu':
    return first.device_kind
  cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
  return f'cpu, {cores} cores'


def device_memory() -> dict[str, float]:
  """The most memory that an accelerator has had in use, in MB; nothing for a CPU."""
  stats = jax.devices()[0].memory_stats()
  return {'device_peak_mb': stats['peak_bytes_in_use'] / 1e6} if stats else {}


if __name__ == '__main__':
  serve.serve(build, sys.argv[1])
