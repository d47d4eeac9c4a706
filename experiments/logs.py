"""Metrics of a run: metrics.jsonl, which is the record, and TensorBoard, which is a view of it."""

from __future__ import annotations

import math
import os
import pathlib
import time
from collections.abc import Mapping
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from experiments.errors import RunError
from experiments.run_dir import JsonLines, read_json_lines

# Seconds between flushes of the TensorBoard files; metrics.jsonl is flushed at every step.
_FLUSH_EVERY = 5.0


class MetricsLog:
  """One record a step, `{'phase', 'step', name: number}`, and a TensorBoard scalar a number.

  TensorBoard files lie in `tensorboard/<phase>` under the tags `<phase>/<name>`. After `truncate`
  the next file of a phase tells TensorBoard to forget the steps that are done again.

  Args:
    workdir: the run's directory.
    process_index: of several processes only process 0 writes; the calls of the others do nothing.
  """

  def __init__(self, workdir, *, process_index: int = 0):
    self._workdir = pathlib.Path(workdir)
    self._writers: dict[str, EventsWriter] = {}
    self._flushed = time.monotonic()
    self._lines = None if process_index else JsonLines(self._workdir / 'metrics.jsonl')

  def write(self, phase: str, step: int, metrics: Mapping[str, Any]) -> None:
    """Appends the metrics of one step; a non-finite number is null in JSON.

    Raises:
      RunError: the disk is full or fails.
    """
    if self._lines is None:
      return
    values = {name: float(value) for name, value in metrics.items()}
    self._lines.write({'phase': phase, 'step': int(step), **values})
    scalars = [
      Summary.Value(tag=f'{phase}/{name}', simple_value=value)
      for name, value in values.items()
      if math.isfinite(value)
    ]
    event = Event(wall_time=time.time(), step=int(step), summary=Summary(value=scalars))
    try:
      self._writer(phase).write_event(event)
      if time.monotonic() - self._flushed > _FLUSH_EVERY:
        self._flush()
    except OSError as error:
      raise self._error(error) from error

  def offset(self) -> int:
    """Bytes of metrics.jsonl, these and all events being on the disk; what `truncate` takes."""
    if self._lines is None:
      return 0
    try:
      self._flush()
    except OSError as error:
      raise self._error(error) from error
    return self._lines.offset()

  def truncate(self, offset: int) -> None:
    """Forgets the records after `offset`: their steps are done again."""
    if self._lines is not None:
      self._close_writers()
      self._lines.truncate(offset)

  def close(self) -> None:
    if self._lines is not None:
      try:
        self._close_writers()
      except OSError as error:
        raise self._error(error) from error
      finally:
        self._lines.close()

  # SummaryWriter would write from a thread of its own, where a full disk goes unseen and a later
  # call waits for ever.
  def _writer(self, phase: str) -> EventsWriter:
    if phase not in self._writers:
      directory = self._workdir / 'tensorboard' / phase
      continued = directory.is_dir()
      directory.mkdir(parents=True, exist_ok=True)
      # The default file name has a resolution of one second and would overwrite the file before.
      suffix = f'.{time.time_ns()}.{os.getpid()}'
      writer = EventsWriter(str(directory / 'events'), suffix)
      if continued:
        # The record being written is in the log already.
        kept = max((r['step'] for r in read_metrics(self._workdir)[phase][:-1]), default=-1)
        start = SessionLog(status=SessionLog.START)
        writer.write_event(Event(wall_time=time.time(), step=kept + 1, session_log=start))
      self._writers[phase] = writer
    return self._writers[phase]

  def _flush(self) -> None:
    for writer in self._writers.values():
      writer.flush()
    self._flushed = time.monotonic()

  def _close_writers(self) -> None:
    for writer in self._writers.values():
      writer.close()
    self._writers.clear()

  def _error(self, error: OSError) -> RunError:
    return RunError(
      f'Cannot write {self._workdir / "tensorboard"}: {error.strerror or error}. The last '
      'checkpoint of the run is safe. Free space on that disk, then run the same command again: it '
      'continues from there.'
    )


def read_metrics(workdir) -> dict[str, list[dict[str, Any]]]:
  """The records of metrics.jsonl by phase, in the order of their steps; `{}` if there are none."""
  phases: dict[str, list[dict[str, Any]]] = {}
  for record in read_json_lines(pathlib.Path(workdir) / 'metrics.jsonl'):
    phases.setdefault(record['phase'], []).append(record)
  return phases
