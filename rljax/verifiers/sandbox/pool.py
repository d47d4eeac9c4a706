"""Workers that run programs, and what this machine has to confine them with."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import queue
import sys
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from . import client, watch
from .limits import Limits
from .watch import Run

MECHANISMS = ('namespaces', 'landlock', 'seccomp')


class Unavailable(RuntimeError):
  """This machine cannot confine programs as far as was asked for."""


def capabilities(avoid: Collection[str] = ()) -> dict[str, str]:
  """What keeps programs from files, from the network and from other processes on this machine.

  Args:
    avoid: mechanisms that are not to be used, of 'namespaces', 'landlock' and 'seccomp'.
  Returns:
    `{'files', 'network', 'processes': 'namespace', 'landlock' or 'seccomp'}`; '' where nothing
    does. The limits of time, memory, output and file size hold everywhere on Linux.
  """
  return dict(_capabilities(frozenset(avoid)))


@functools.cache
def _capabilities(avoid):
  if sys.platform != 'linux':
    return {'files': '', 'network': '', 'processes': ''}
  zygote = client.Zygote(Limits(), (), avoid)
  zygote.close()
  return zygote.protections


class Sandbox:
  """Workers that run programs nobody has read; a context manager.

  Args:
    limits: of every run.
    workers: programs that run at the same time.
    paths: directories that programs may read and import from, besides the standard library.
    accept: protections to do without where the machine does not give them, of 'files', 'network'
      and 'processes'; see `capabilities`.
    avoid: mechanisms that are not to be used, of 'namespaces', 'landlock' and 'seccomp'.
  Attributes:
    limits, workers: as given.
    protections: as `capabilities`.
  Raises:
    Unavailable: a protection is missing that was not named in `accept`.
  """

  def __init__(
    self,
    limits: Limits | None = None,
    *,
    workers: int = 2,
    paths: Sequence[str] = (),
    accept: Collection[str] = (),
    avoid: Collection[str] = (),
  ):
    if workers < 1:
      raise ValueError(f'workers is {workers}; at least one is needed.')
    for given, known in ((accept, ('files', 'network', 'processes')), (avoid, MECHANISMS)):
      if isinstance(given, str) or not set(given) <= set(known):
        raise ValueError(f'{given!r} is not a collection of names out of {list(known)}.')
    if sys.platform != 'linux':
      raise Unavailable(f'Programs are run on Linux only, not on {sys.platform}.')
    self.limits = limits or Limits()
    self.workers = workers
    self.protections = capabilities(avoid)
    missing = [name for name, how in self.protections.items() if not how and name not in accept]
    if missing:
      raise Unavailable(
        f'Nothing on this machine keeps programs from {" and ".join(missing)}: the kernel, or the '
        'container around this process, allows neither namespaces nor what could stand in for '
        f'them. Run where it does, or do without by accept={tuple(missing)!r}.'
      )
    self._make = functools.partial(client.Zygote, self.limits, tuple(paths), frozenset(avoid))
    # The last one used comes first: it has its processes, which others start when they are needed.
    self._idle: queue.LifoQueue[list[client.Zygote]] = queue.LifoQueue()
    self._all: set[client.Zygote] = set()
    self._lock, self._closed = threading.Lock(), False
    for _ in range(workers):
      self._idle.put([])

  def __enter__(self) -> Sandbox:
    return self

  def __exit__(self, *_) -> None:
    self.close()

  def close(self) -> None:
    """Ends all processes."""
    with self._lock:
      self._closed, zygotes, self._all = True, self._all, set()
    for zygote in zygotes:
      zygote.close()

  def run(self, job: Mapping[str, Any], stdin: bytes = b'', seconds: float | None = None) -> Run:
    """One run of a program in a process of its own; waits for a free worker.

    Args:
      job: as for `program.run`; `{'source': text}` is a script.
      stdin: what the program reads.
      seconds: less time than the limits give.

    Raises:
      Broken: it could not be started, twice.
    """
    return self._twice([job], stdin, seconds)[0]

  def judge(
    self, job: Mapping[str, Any], test: Mapping[str, Any], seconds: float | None = None
  ) -> tuple[Run, Run]:
    """A run of a program beside one of a test (as for `referee.run`) that questions it."""
    run, referee = self._twice([job, test], b'', seconds)
    return run, referee

  def _twice(self, jobs, stdin, seconds):
    """What fails for reasons of ours is tried once more, with new processes."""
    limits = self.limits
    if seconds is not None:
      limits = dataclasses.replace(limits, seconds=min(seconds, limits.seconds))
    with self._worker(len(jobs)) as zygotes:
      with contextlib.suppress(client.Broken, OSError):
        return watch.watch(zygotes, jobs, stdin, limits)
      self._renew(zygotes, len(jobs))
      try:
        return watch.watch(zygotes, jobs, stdin, limits)
      except OSError as error:
        raise client.Broken(str(error)) from error

  @contextlib.contextmanager
  def _worker(self, count) -> Iterator[list[client.Zygote]]:
    zygotes = self._idle.get()
    try:
      self._fill(zygotes, count)
      yield zygotes
    except BaseException:
      self._renew(zygotes, 0)  # it may be in the middle of something
      raise
    finally:
      self._idle.put(zygotes)

  def _fill(self, zygotes, count):
    while len(zygotes) < count:
      zygote = self._make()
      with self._lock:
        if self._closed:
          zygote.close()
          raise ValueError('The sandbox is closed.')
        self._all.add(zygote)
      zygotes.append(zygote)
      watch.prove(zygote, self.limits)

  def _renew(self, zygotes, count):
    for zygote in zygotes:
      zygote.close()
      with self._lock:
        self._all.discard(zygote)
    zygotes.clear()
    self._fill(zygotes, count)
