"""A measured process: it prepares a workload, then runs it once for every line it is sent.

Peers run in virtual environments of their own, so this file needs the standard library alone.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any


def serve(build: Callable[..., tuple[Callable[[], dict], dict]], *arguments: Any) -> None:
  """Answers each line of standard input with one JSON line about one repeat.

  `build(*arguments)` returns `run`, which does the work of one repeat, waits for its end and
  returns further numbers by name, and a dict about the process that is sent at once. Whatever else
  the process prints goes to standard error.
  """
  answers = os.fdopen(os.dup(1), 'w')
  os.dup2(2, 1)

  def answer(values):
    answers.write(json.dumps(values) + '\n')
    answers.flush()

  start = time.perf_counter()
  run, about = build(*arguments)
  answer({**about, 'build_s': time.perf_counter() - start, 'rss_mb': resident_mb()})
  for _ in sys.stdin:
    start, busy = time.perf_counter(), time.process_time()
    values = run()
    clock = {'seconds': time.perf_counter() - start, 'cpu_s': time.process_time() - busy}
    answer({**clock, **values, 'peak_rss_mb': peak_rss_mb()})
  os._exit(0)  # a library may have left threads that wait for more work


def workload() -> dict[str, Any]:
  """The workload from the command line, as JSON."""
  return json.loads(sys.argv[-1])


def resident_mb() -> float:
  """Memory of this process now, in MB."""
  return _status('VmRSS')


def peak_rss_mb() -> float:
  """The most memory that this process has had, in MB; never that of the process that started it."""
  return _status('VmHWM')


def _status(name):
  try:
    with open('/proc/self/status', encoding='ascii') as lines:
      return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith(name))
  except OSError:  # not Linux; only the peak is to be had there
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
