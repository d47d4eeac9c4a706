"""What a run leaves behind while it goes on: metrics, samples, seconds, and a live display."""

from __future__ import annotations

import contextlib
import pathlib
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
from ml_collections import ConfigDict

from experiments import processes
from experiments.cli import Interrupts
from experiments.display import Progress
from experiments.errors import Interrupted
from experiments.logs import MetricsLog
from experiments.run_dir import JsonLines, RunDir


class Journal:
  """The run's directory, logs and clock; a context manager.

  Of several processes the first one writes; the others know the directory and keep time.

  The logs' lengths and the seconds are part of every checkpoint (`position`), and `rewind` goes
  back to them, so that a step that is done again stands in the logs once and its time is counted
  once.

  Args:
    workdir: the run's directory.
    config: the run's configuration.
    resume: as in `RunDir`.
    need_bytes: estimated disk space.

  Attributes:
    workdir: absolute path.
    summary: what summary.json holds, None until the run is complete.
  """

  def __init__(self, workdir, config: ConfigDict, *, resume: str = 'auto', need_bytes: int = 0):
    self._directory: RunDir | None = None

    def open_directory():
      self._directory = RunDir(workdir, config, resume=resume, need_bytes=need_bytes)
      return {'workdir': str(self._directory.workdir), 'summary': self._directory.summary()}

    found = processes.on_first(open_directory)
    self.workdir = pathlib.Path(found['workdir'])
    self.summary: dict[str, Any] | None = found['summary']
    self._metrics = MetricsLog(self.workdir, process_index=jax.process_index())
    self._samples = JsonLines(self.workdir / 'samples.jsonl') if processes.is_first() else None
    self._seconds: defaultdict[str, float] = defaultdict(float)
    self._tokens = 0.0
    self._progress: Progress | None = None
    self._interrupts = Interrupts()
    self._exit_status = 0

  def __enter__(self) -> Journal:
    self._interrupts.__enter__()
    return self

  def __exit__(self, kind, error, traceback) -> None:
    self.finish_phase()
    self._interrupts.__exit__(kind, error, traceback)
    self._metrics.close()
    if self._samples is not None:
      self._samples.close()
    if self._directory is not None:
      self._directory.close()

  def interrupted(self) -> bool:
    """Whether a signal asked this process or another one to save and leave; all must ask."""
    self._exit_status = processes.largest(self._interrupts.exit_status)
    return self._exit_status > 0

  def interruption(self, where: str) -> Interrupted:
    """The exception for a run that was saved at `where` because of a signal."""
    return Interrupted(
      self._exit_status or self._interrupts.exit_status,
      f'Saved at {where} in {self.workdir}; the same command continues from there.',
    )

  def position(self) -> dict[str, Any]:
    """What a checkpoint keeps of the journal; what is logged so far is on the disk."""
    return {
      'metrics': self._metrics.offset(),
      'samples': 0 if self._samples is None else self._samples.offset(),
      'seconds': dict(self._seconds),
      'tokens': self._tokens,
    }

  def rewind(self, position: Mapping[str, Any] | None) -> None:
    """Goes back to what `position` returned; None forgets everything."""
    position = position or {'metrics': 0, 'samples': 0, 'seconds': {}, 'tokens': 0.0}
    self._metrics.truncate(position['metrics'])
    if self._samples is not None:
      self._samples.truncate(position['samples'])
    self._seconds = defaultdict(float, position['seconds'])
    self._tokens = position['tokens']

  def start(self, phase: str, first: int, steps: int) -> None:
    """Shows the progress of a phase of `steps` steps of which `first` are done."""
    self.finish_phase()
    if processes.is_first():
      self._progress = Progress(phase, steps, first)
      self._progress.__enter__()

  def finish_phase(self) -> None:
    """Takes the progress display away."""
    if self._progress is not None:
      self._progress.__exit__(None, None, None)
      self._progress = None

  def step(
    self, phase: str, step: int, metrics: Mapping[str, float], seconds: Mapping[str, float]
  ) -> None:
    """Logs one step; `seconds` by activity are logged as `seconds/<name>` and added up."""
    for name, value in seconds.items():
      self._seconds[name] += value
    self._tokens += metrics.get('tokens', 0.0) if phase == 'rl' else 0.0
    record = {**metrics, **{f'seconds/{name}': value for name, value in seconds.items()}}
    self._metrics.write(phase, step, record)
    if self._progress is not None:
      self._progress.update(step, record)

  def event(self, phase: str, step: int, metrics: Mapping[str, float]) -> None:
    """Logs metrics outside the steps, such as an evaluation's."""
    self._metrics.write(phase, step, metrics)

  def samples(self, step: int, records: Sequence[Mapping[str, Any]]) -> None:
    """Appends records to samples.jsonl."""
    if self._samples is None:
      return
    for record in records:
      self._samples.write({'step': step, **record})

  @contextlib.contextmanager
  def phase(self, name: str) -> Iterator[None]:
    """Adds the time spent inside to the seconds of `name`."""
    start = time.perf_counter()
    try:
      yield
    finally:
      self._seconds[name] += time.perf_counter() - start

  def finish(self, record: Mapping[str, Any]) -> None:
    """Writes summary.json with the seconds of every activity: the run is complete."""
    seconds = {name: round(value, 3) for name, value in self._seconds.items()}
    rollout = sum(
      self._seconds[name] for name in ('wait', 'sample', 'verify', 'feed', 'prepare', 'update')
    )
    summary = {
      **record,
      'seconds': seconds | {'total': round(sum(self._seconds.values()), 3)},
      'tokens': self._tokens,
      'tokens_per_second': self._tokens / rollout if rollout else 0.0,
    }

    def write():
      self._directory.write_summary(summary)
      return self._directory.summary()

    self.summary = processes.on_first(write)
