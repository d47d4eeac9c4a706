"""Runs a benchmark in processes of their own and prints what came out as one JSON line.

With a peer, both processes prepare and warm up and then take turns, repeat by repeat (A B A B), so
that whatever else the machine does falls on both; the one that waits has no thread at work.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from absl import app, flags
from ml_collections import ConfigDict, config_flags

from experiments.bench.workload import MODELS

ROOT = pathlib.Path(__file__).parents[2]
SCRIPTS = pathlib.Path(__file__).parent / 'peers'
# What to install into a peer's virtual environment.
PEERS = {
  'tunix': 'google-tunix==0.1.7',
  'trl': 'torch==2.13.0 trl==1.16.0 transformers accelerate datasets',
  'hf': 'torch==2.13.0 transformers',
}

# A first call must compile, and two processes may share one accelerator.
_ENVIRONMENT = {'JAX_ENABLE_COMPILATION_CACHE': 'false', 'XLA_PYTHON_CLIENT_PREALLOCATE': 'false'}
FLAGS = flags.FLAGS


class Failed(Exception):
  """What was asked for cannot be measured; the message says why."""


class Process:
  """A process that runs one repeat of a workload when it is told to (`peers/serve.py`).

  Attributes:
    about: what it said of itself before its first repeat.
    first: its first repeat, with all that had to be compiled.
    repeats: those that count.
  """

  def __init__(self, command: Sequence[str]):
    self._command = command
    self._log = tempfile.TemporaryFile('w+')  # noqa: SIM115, it lives as long as the process
    self._child = subprocess.Popen(
      command,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=self._log,
      text=True,
      cwd=ROOT,
      env=_ENVIRONMENT | os.environ,
    )
    self.about: dict[str, Any] = {}
    self.first: dict[str, Any] = {}
    self.repeats: list[dict[str, Any]] = []

  def start(self, warmup: int) -> None:
    """Waits until the workload is prepared, then runs it first and `warmup` times more."""
    self.about = self._answer()
    self.first = self.repeat()
    for _ in range(warmup):
      self.repeat()

  def repeat(self) -> dict[str, Any]:
    """One repeat: its seconds, peak memory and what else the workload measures."""
    with contextlib.suppress(BrokenPipeError):  # then there is no answer, and that is explained
      self._child.stdin.write('\n')
      self._child.stdin.flush()
    return self._answer()

  def close(self) -> None:
    """Ends the process."""
    with contextlib.suppress(BrokenPipeError):
      self._child.stdin.close()
    self._child.stdout.close()
    self._child.wait()
    self._log.close()

  def _answer(self):
    line = self._child.stdout.readline()
    if line:
      return json.loads(line)
    status = self._child.wait()
    self._log.seek(0)
    tail = '\n'.join(self._log.read().splitlines()[-25:])
    raise Failed(f'{" ".join(self._command)}\nended with status {status}:\n{tail}')


def ours(benchmark: str, workload: ConfigDict) -> list[str]:
  """The command of a process that runs our side."""
  worker = [sys.executable, '-m', 'experiments.bench.worker', benchmark]
  return [*worker, workload.to_json()]


def theirs(peer: str, benchmark: str, workload: ConfigDict, python: str | None) -> list[str]:
  """The command of a process that runs a peer; raises Failed if the peer cannot do that."""
  script = SCRIPTS / f'{peer}_{benchmark}.py'
  if not script.exists():
    known = sorted(path.stem.removeprefix(f'{peer}_') for path in SCRIPTS.glob(f'{peer}_*.py'))
    raise Failed(f'There is no {benchmark} of {peer}; it has {", ".join(known)}.')
  home = pathlib.Path.home() / '.cache' / 'rljax' / 'peers' / ('trl' if peer == 'hf' else peer)
  path = pathlib.Path(python) if python else home / 'bin' / 'python'
  if not path.exists():
    raise Failed(
      f'{path} does not exist. Make an environment for the peer with\n'
      f'  python -m venv {home} && {home}/bin/pip install {PEERS[peer]}\n'
      'or name an interpreter that has it with --peer_python.'
    )
  return [str(path), str(script), workload.to_json()]


@contextlib.contextmanager
def measured(
  commands: Mapping[str, Sequence[str]], *, repeats: int, warmup: int
) -> Iterator[dict[str, Process]]:
  """Processes by name, after `repeats` in turn; they end with the context."""
  processes: dict[str, Process] = {}
  try:
    for name, command in commands.items():  # one after the other: each compiles on a free machine
      processes[name] = Process(command)
      processes[name].start(warmup)
    for _ in range(repeats):
      for process in processes.values():
        process.repeats.append(process.repeat())
    yield processes
  finally:
    for process in processes.values():
      process.close()


def summary(process: Process) -> dict[str, Any]:
  """Medians over repeats: seconds with their spread, the rate, and what else was measured."""
  values = {
    name: [repeat[name] for repeat in process.repeats]
    for name in process.repeats[0]
    if name != 'peak_rss_mb'
  }
  seconds, tokens = values.pop('seconds'), values.pop('tokens', None)
  found: dict[str, Any] = {'seconds': spread(seconds)}
  if tokens:
    rates = [n / s for n, s in zip(tokens, seconds, strict=True)]
    found['tokens_per_s'] = statistics.median(rates)
  found |= {name: statistics.median(each) for name, each in values.items()}
  found['first_call_s'] = process.first['seconds']
  found['peak_rss_mb'] = process.repeats[-1]['peak_rss_mb']
  return found | {k: v for k, v in process.about.items() if k != 'rss_mb'}


def spread(values: Sequence[float]) -> dict[str, float]:
  """Median, smallest and largest."""
  return {'median': statistics.median(values), 'min': min(values), 'max': max(values)}


def compare(
  benchmark: str,
  work: Callable[[ConfigDict], dict[str, float]],
  others: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
  """Our side of a benchmark, beside it a peer's if --vs names one, and other commands by name."""
  workload = FLAGS.workload
  commands = {'ours': ours(benchmark, workload), **(others or {})}
  if FLAGS.vs:
    commands[FLAGS.vs] = theirs(FLAGS.vs, benchmark, workload, FLAGS.peer_python)
  with measured(commands, repeats=FLAGS.repeats, warmup=FLAGS.warmup) as processes:
    found = {name: summary(process) for name, process in processes.items()}
  mine = found.pop('ours')
  result = {**mine, **rates(work(workload), mine['seconds']['median'])}
  for peer, other in found.items():
    result[peer] = other
    result['ratio'] = mine['tokens_per_s'] / other['tokens_per_s']
    # Time of all threads: says less on a quiet machine, but more on one that others use too.
    result['ratio_of_cpu_time'] = other['cpu_s'] / mine['cpu_s']
    result['ratio_of_memory'] = mine['peak_rss_mb'] / other['peak_rss_mb']
  return result


def rates(work: Mapping[str, float], seconds: float) -> dict[str, float]:
  """Work a second, and its share of what the device can do if that was given."""
  found = {'gflop_per_s': work['flop'] / seconds / 1e9}
  if FLAGS.peak_tflops:
    found['mfu'] = found['gflop_per_s'] / FLAGS.peak_tflops / 1e3
  if FLAGS.peak_gbps and 'bytes' in work:
    found['bandwidth_fraction'] = work['bytes'] / seconds / 1e9 / FLAGS.peak_gbps
  return found


def main(
  benchmark: str,
  measure: Callable[[], dict[str, Any] | Iterator[dict[str, Any]]],
  *,
  model: str = 'shared',
) -> None:
  """Parses the command line, measures and prints one JSON line, or one for each of several results.

  Args:
    benchmark: its name.
    measure: gives a result, or yields them.
    model: the workload to start from where the command line names none.
  """
  _define_flags(model)

  def parse(argv):
    # The workload that is overridden depends on another flag.
    FLAGS(argv[:1] + [a for a in argv[1:] if a.startswith('--model')])
    config_flags.DEFINE_config_dict('workload', MODELS[FLAGS.model](), 'Sizes to change.')
    return FLAGS(argv)

  def run(rest):
    if rest[1:]:
      sys.exit(f'Unexpected argument {rest[1]!r}; options look like --name=value.')
    settings = {'benchmark': benchmark, 'model': FLAGS.model, 'repeats': FLAGS.repeats}
    try:
      found = measure()
      for result in [found] if isinstance(found, dict) else found:
        line = {**settings, **result, 'workload': FLAGS.workload.to_dict()}
        print(json.dumps(_rounded(line)), flush=True)
    except Failed as error:
      sys.exit(str(error))

  app.run(run, flags_parser=parse)


def _define_flags(model):
  flags.DEFINE_enum('model', model, list(MODELS), 'Workload to start from.')
  flags.DEFINE_enum('vs', None, list(PEERS), 'Peer to measure in the same run.')
  flags.DEFINE_string('peer_python', None, 'Interpreter that has the peer.')
  flags.DEFINE_integer('repeats', 5, 'Repeats that count.', lower_bound=1)
  flags.DEFINE_integer('warmup', 1, 'Repeats before them, after the first.', lower_bound=0)
  flags.DEFINE_float('peak_tflops', None, 'What the device can do, TFLOP/s.')
  flags.DEFINE_float('peak_gbps', None, 'What its memory can do, GB/s.')


def _rounded(x):
  """Numbers with four digits that count: more are noise."""
  if isinstance(x, float):
    return float(f'{x:.4g}')
  if isinstance(x, dict):
    return {name: _rounded(each) for name, each in x.items()}
  return x
