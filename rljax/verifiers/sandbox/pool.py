"""The trainer's side: starts the processes that start runs, watches time and output, kills."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import functools
import json
import os
import pathlib
import queue
import select
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from .limits import Limits

MECHANISMS = ('namespaces', 'landlock', 'seccomp')

_HERE = pathlib.Path(__file__).parent
# Appended, not put first: next to this package lie modules named as some of Python's own.
_START = (
  f'import sys; sys.path.append({str(_HERE.parent)!r}); from {_HERE.name} import zygote; '
  'sys.path.pop(); zygote.main(int(sys.argv[1]))'
)
# One arena: else every thread of a program reserves 128 MB of the address space it may have. Equal
# hashes in every process: else a program that prints a set is right on some days.
_ENVIRONMENT = {'MALLOC_ARENA_MAX': '1', 'PYTHONHASHSEED': '0'}
_LIBRARIES = ('/lib', '/lib64', '/usr/lib', '/usr/lib64', '/etc/ld.so.cache')
_SLICE = 0.05  # seconds
_PATIENCE = 30.0  # seconds for what is ours to do, on a machine under load
_ADD_SEALS, _ALL_SEALS = 1033, 15


class Unavailable(RuntimeError):
  """This machine cannot confine programs as far as was asked for."""


class Broken(RuntimeError):
  """A run could not be started or watched: no verdict on the program."""


class Run(NamedTuple):
  """What came out of a run.

  Attributes:
    status: exit status, negative for a signal.
    stdout: what it printed.
    stderr: the end of what it said there.
    result: what it wrote as its result.
    timed_out: it was killed for its time.
    overflowed: it was killed for its output.
    cpu_seconds: processor time of the run's main process and of the children it waited for.
  """

  status: int
  stdout: bytes
  stderr: bytes
  result: bytes
  timed_out: bool
  overflowed: bool
  cpu_seconds: float


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
  zygote = Zygote(Limits(), (), avoid)
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
    self._make = functools.partial(Zygote, self.limits, tuple(paths), frozenset(avoid))
    self._idle: queue.SimpleQueue[list[Zygote]] = queue.SimpleQueue()
    self._all: set[Zygote] = set()
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
    """One run of `program.run` in a process of its own; waits for a free worker.

    Raises:
      Broken: it could not be started, twice.
    """
    return self._twice(1, lambda zygotes: _watch(zygotes, [job], stdin, self._limited(seconds))[0])

  def judge(
    self, job: Mapping[str, Any], test: Mapping[str, Any], seconds: float | None = None
  ) -> tuple[Run, Run]:
    """A run of a program beside one of `referee.run` that questions it."""
    watched = self._twice(
      2, lambda zygotes: _watch(zygotes, [job, test], b'', self._limited(seconds))
    )
    return watched[0], watched[1]

  def _limited(self, seconds):
    if seconds is None:
      return self.limits
    return dataclasses.replace(self.limits, seconds=min(seconds, self.limits.seconds))

  def _twice(self, count, run):
    """What fails for reasons of ours is tried once more, with new processes."""
    with self._worker(count) as zygotes:
      with contextlib.suppress(Broken, OSError):
        return run(zygotes)
      self._renew(zygotes, count)
      try:
        return run(zygotes)
      except OSError as error:
        raise Broken(str(error)) from error

  @contextlib.contextmanager
  def _worker(self, count) -> Iterator[list[Zygote]]:
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
      _prove(zygote, self.limits)

  def _renew(self, zygotes, count):
    for zygote in zygotes:
      zygote.close()
      with self._lock:
        self._all.discard(zygote)
    zygotes.clear()
    self._fill(zygotes, count)


class Zygote:
  """One process that starts runs (`zygote.main`).

  Attributes:
    protections: what it enforces.
    channel: the socket to it.
  """

  def __init__(self, limits: Limits, paths: Sequence[str], avoid: Collection[str]):
    self._log = tempfile.TemporaryFile()  # noqa: SIM115, it lives as long as the process
    self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
      self._process = subprocess.Popen(
        [sys.executable, '-s', '-S', '-P', '-B', '-c', _START, str(theirs.fileno())],
        env=_ENVIRONMENT,
        cwd='/',
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=self._log,
        pass_fds=[theirs.fileno()],
        start_new_session=True,
      )
    config = {
      'limits': dataclasses.asdict(limits),
      'readable': [*_interpreter(), *map(os.path.abspath, paths)],
      'paths': [os.path.abspath(path) for path in paths],
      'directory': tempfile.gettempdir(),
      'avoid': list(avoid),
    }
    try:
      self.channel.settimeout(_PATIENCE)
      self.channel.send(json.dumps(config).encode())
      self.protections = self.answer()
    except (OSError, Broken):
      self.close()
      raise

  def start(self, job: Mapping[str, Any], stdin: bytes, link: int | None) -> list[int]:
    """Starts a run; the descriptors of what it prints, its errors and its result."""
    with contextlib.ExitStack() as stack:
      ours, theirs = [], []
      sent = [_sealed(stdin)]
      stack.callback(os.close, sent[0])
      for _ in range(3):
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        ours.append(reader)
        theirs.append(writer)
        stack.callback(os.close, writer)
      sent += [*theirs, _sealed(json.dumps(job).encode())]
      stack.callback(os.close, sent[-1])
      try:
        socket.send_fds(self.channel, [b'run'], sent if link is None else [*sent, link])
      except OSError:
        for reader in ours:
          os.close(reader)
        raise
    return ours

  def kill(self) -> None:
    """Asks for the end of the run that is going on, if any."""
    self.channel.send(b'kill')

  def answer(self) -> dict[str, Any]:
    """What it says next; Broken if it has died, or cannot do what it shall."""
    message = self.channel.recv(1 << 16)
    if not message:
      self._log.seek(0)
      raise Broken(f'The process that starts runs has died: {self._log.read()[-2000:]!r}')
    found = json.loads(message)
    if 'error' in found:
      raise Broken(f'A run could not be started: {found["error"]}')
    return found

  def close(self) -> None:
    """Ends it; what it has started ends with it."""
    self.channel.close()
    try:
      self._process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
      self._process.kill()
      self._process.wait()
    self._log.close()


class _Stream:
  """What one run gives, as it comes."""

  def __init__(self, zygote: Zygote, readers: list[int], most: int):
    self.zygote, self.readers = zygote, readers
    self.parts: dict[int, bytearray] = {reader: bytearray() for reader in readers}
    self.report: dict[str, Any] | None = None
    self.timed_out = self.overflowed = False
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
    cpu = self.report['cpu']
    return Run(status, stdout, stderr[-4096:], result, slow, self.overflowed, cpu)


def _watch(zygotes, jobs, stdin, limits):
  """Starts one run, or two that are linked, and waits until the last one named has ended."""
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


def _linked():
  one, other = socket.socketpair()
  return [one.detach(), other.detach()]


def _prove(zygote, limits):
  """Raises Broken unless a known program does what it must: else every program would be wrong."""
  (run,) = _watch([zygote], [{'source': 'import sys\nprint(sys.stdin.read())'}], b'3', limits)
  if run.stdout != b'3\n' or run.status != 0:
    raise Broken(f'A known program does not run under {limits}: {run}')


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
    elapsed, patience = elapsed + passed, patience + passed if killed else 0.0
    late = elapsed > limits.seconds
    over = late or last.report is not None or any(stream.overflowed for stream in streams)
    if over and not killed:
      killed = True
      for stream in streams:
        if stream.report is None:
          stream.timed_out = late
          stream.zygote.kill()
    if patience > _PATIENCE:
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


def _sealed(content: bytes) -> int:
  """A file in memory that nobody can change, to be read from its beginning."""
  descriptor = os.memfd_create('run', os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
  try:
    rest = memoryview(content)
    while rest:
      rest = rest[os.write(descriptor, rest) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    fcntl.fcntl(descriptor, _ADD_SEALS, _ALL_SEALS)
  except BaseException:
    os.close(descriptor)
    raise
  return descriptor


def _interpreter():
  """Where the interpreter and the libraries lie that its modules need."""
  prefixes = (sys.base_prefix, sys.base_exec_prefix)
  paths = [os.path.join(prefix, name) for prefix in prefixes for name in ('lib', 'lib64')]
  paths += [sysconfig.get_path('stdlib'), *_LIBRARIES]
  return [path for path in dict.fromkeys(map(os.path.abspath, paths)) if path != '/']
