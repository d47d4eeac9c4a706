"""The trainer's end of a process that starts runs (`zygote.main`)."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from .limits import Limits

PATIENCE = 30.0  # seconds for what is ours to do, on a machine under load

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
_ADD_SEALS, _ALL_SEALS = 1033, 15


class Broken(RuntimeError):
  """A run could not be started or watched: no verdict on the program."""


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
      self.channel.settimeout(PATIENCE)
      with contextlib.suppress(ConnectionError):  # then there is no answer, and that is explained
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
    message = b''
    with contextlib.suppress(ConnectionError):
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
      self._process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
      self._process.kill()
      self._process.wait()
    self._log.close()


def _sealed(content: bytes) -> int:
  """A file in memory that nobody can change, to be read from its beginning."""
  import fcntl  # not on every system where this module is imported

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
