"""Watches runs: takes what they give, and has them killed for their time or their output."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from .client import PATIENCE, Broken, Zygote
from .limits import Limits

_SLICE = 0.05  # seconds


class Run(NamedTuple):
  """What came out of a run.

  Attributes:
    status: exit status, negative for a signal.
    stdout: what it printed.
    stderr: the end of what it said there.
    result: what it wrote as its result.
    timed_out: it was killed for its time.
    overflowed: it was killed for its output.
    seconds: wall-clock time, without what the watcher was kept from watching.
    cpu_seconds: processor time of the run's main process and of the children it waited for.
  """

  status: int
  stdout: bytes
  stderr: bytes
  result: bytes
  timed_out: bool
  overflowed: bool
  seconds: float
  cpu_seconds: float


def watch(
  zygotes: Sequence[Zygote], jobs: Sequence[Mapping[str, Any]], stdin: bytes, limits: Limits
) -> list[Run]:
  """Starts one run, or two that are linked, and sees to it that all end when the last of them does.

  Raises:
    Broken: one could not be started.
  """
  streams: list[_Stream] = []
  with contextlib.ExitStack() as stack:
    links = _linked() if len(jobs) == 2 else [None]
    try:
      for zygote, job, link in zip(zygotes, jobs, links, strict=False):
        readers = zygote.start({**job, 'most': limits.output}, stdin, link)
        streams.append(_Stream(zygote, readers, limits.output))
        stack.callback(streams[-1].close)
    finally:
      for link in filter(None, links):
        os.close(link)
    _wait(streams, limits)
  return [stream.run() for stream in streams]


def prove(zygote: Zygote, limits: Limits) -> None:
  """Raises Broken unless a known program does what it must: else every program would be wrong."""
  (run,) = watch([zygote], [{'source': 'import sys\nprint(sys.stdin.read())'}], b'3', limits)
  if run.stdout != b'3\n' or run.status != 0:
    raise Broken(f'A known program does not run under {limits}: {run}')


class _Stream:
  """What one run gives, as it comes."""

  def __init__(self, zygote: Zygote, readers: list[int], most: int):
    self.zygote, self.readers = zygote, readers
    self.parts: dict[int, bytearray] = {reader: bytearray() for reader in readers}
    self.report: dict[str, Any] | None = None
    self.timed_out = self.overflowed = False
    self.seconds = 0.0
    self._open, self._most = set(readers), most

  def waiting(self) -> list[Any]:
    return [*self._open] + ([self.zygote.channel] if self.report is None else [])

  def take(self, ready: Collection[Any]) -> None:
    """Reads what is there; what is beyond the limit is not kept."""
    for reader in self._open & set(ready):
      part = os.read(reader, 1 << 16)
      if not part:
        self._open.discard(reader)
      self.parts[reader] += part
      if len(self.parts[reader]) > self._most:
        self.overflowed = True
        del self.parts[reader][: -self._most]
    if self.zygote.channel in ready:
      self.report = self.zygote.answer()

  def close(self) -> None:
    for reader in self.readers:
      os.close(reader)

  def run(self) -> Run:
    status = os.waitstatus_to_exitcode(self.report['status'])
    stdout, stderr, result = (bytes(self.parts[reader]) for reader in self.readers)
    slow = self.timed_out or status == -signal.SIGXCPU
    said, cpu = stderr[-4096:], self.report['cpu']
    return Run(status, stdout, said, result, slow, self.overflowed, self.seconds, cpu)


def _linked():
  one, other = socket.socketpair()
  return [one.detach(), other.detach()]


def _wait(streams, limits):
  last, killed, elapsed, patience = streams[-1], False, 0.0, 0.0
  while any(stream.report is None for stream in streams):
    before = time.monotonic()
    waiting = [each for stream in streams for each in stream.waiting()]
    ready = _ready(waiting)
    for stream in streams:
      stream.take(ready)
    # If we have been stopped or starved ourselves, so have the programs: such time does not count.
    passed = min(time.monotonic() - before, 2 * _SLICE)
    for stream in streams:
      stream.seconds = elapsed + passed
    elapsed, patience = elapsed + passed, patience + passed if killed else 0.0
    late = elapsed > limits.seconds
    over = late or last.report is not None or any(stream.overflowed for stream in streams)
    if over and not killed:
      killed = True
      for stream in streams:
        if stream.report is None:
          stream.timed_out = late
          stream.zygote.kill()
    if patience > PATIENCE:
      raise Broken('A run does not end although it was killed')
  for stream in streams:  # all writers are dead, so this ends
    while waiting := stream.waiting():
      stream.take(_ready(waiting))


def _ready(waiting):
  """Those of `waiting` that can be read; `select` knows no descriptors above 1023."""
  poll = select.poll()
  numbers = {each if isinstance(each, int) else each.fileno(): each for each in waiting}
  for number in numbers:
    poll.register(number, select.POLLIN)
  return [numbers[number] for number, _ in poll.poll(1000 * _SLICE)]
