"""Programs judged a second by the sandbox: `python -m experiments.bench.code_rewards
[--programs=120] [--workers=2]`.

Each program squares a number and has one unit test of a kind; `confined` says by what.
"""

from __future__ import annotations

import json
import platform
import time

from absl import app, flags

from experiments.bench import harness
from rljax import verifiers

PROGRAMS = flags.DEFINE_integer('programs', 120, 'Programs a repeat.', lower_bound=1)
WORKERS = flags.DEFINE_integer('workers', 2, 'Programs at a time.', lower_bound=1)
REPEATS = flags.DEFINE_integer('repeats', 5, 'Repeats that count, after one that does not.')

SOURCE = (
  "def square(x):\n  return x * x\n\nif __name__ == '__main__':\n  print(square(int(input())))\n"
)
TESTS = {
  'script': verifiers.Script('3', '9'),
  'call': verifiers.Call('square', [3], 9),
  'assertion': verifiers.Assertion('assert square(3) == 9'),
}


def main(_):
  """Prints one JSON line."""
  found = {}
  for name, avoid in {'namespaces': (), 'without_namespaces': ('namespaces',)}.items():
    with verifiers.Sandbox(workers=WORKERS.value, avoid=avoid) as box:
      kinds = {kind: rates(box, test) for kind, test in TESTS.items()}
      found[name] = {'confined': box.protections, 'programs_per_s': kinds}
  settings = {
    'benchmark': 'code_rewards',
    'python': platform.python_version(),
    'programs': PROGRAMS.value,
    'workers': WORKERS.value,
    'repeats': REPEATS.value,
  }
  print(json.dumps({**settings, **found}))


def rates(box, test):
  """Programs a second over repeats."""
  found = []
  for _ in range(REPEATS.value + 1):
    start = time.perf_counter()
    tests = [[test]] * PROGRAMS.value
    columns = verifiers.run_programs([SOURCE] * PROGRAMS.value, tests, sandbox=box)
    found.append(round(PROGRAMS.value / (time.perf_counter() - start), 1))
    if not columns['correct'].all():
      raise SystemExit(f'A right program was judged wrong: {columns}')
  return harness.spread(found[1:])


if __name__ == '__main__':
  app.run(main)
