"""A small process that starts all others: it forks for every run, and confines what it forks.

It is started as a fresh interpreter and receives file descriptors, never their contents. So a run
inherits a memory in which there is nothing of the trainer, of the tests, or of earlier runs.
"""

from __future__ import annotations

# What programs import most often is here once for all of them.
import bisect  # noqa: F401
import collections  # noqa: F401
import contextlib
import copy  # noqa: F401
import datetime  # noqa: F401
import decimal  # noqa: F401
import fcntl
import fractions  # noqa: F401
import functools  # noqa: F401
import gc
import heapq  # noqa: F401
import itertools  # noqa: F401
import json
import math
import operator  # noqa: F401
import os
import random  # noqa: F401
import re  # noqa: F401
import resource
import secrets
import select
import signal
import socket
import string  # noqa: F401
import sys
import tempfile
import typing  # noqa: F401
from typing import Any

from . import kernel, landlock, namespaces, program, referee, seccomp

# The descriptors of a run, in the order in which they come.
STDIN, STDOUT, STDERR, RESULT, JOB, LINK = range(6)

_OTHER_USERS = 0x70000000  # nobody's: above what systemd and container tools give away
_NOBODY = 65534


def main(number: int) -> None:
  """Serves runs, one at a time, until the other end of the socket `number` closes."""
  signal.pthread_sigmask(signal.SIG_SETMASK, [])  # the trainer's own may have been inherited
  with socket.socket(fileno=number) as channel:
    kernel.adopt_orphans()
    config = json.loads(channel.recv(1 << 16))
    sys.path += config['paths']
    try:
      confinement = Confinement(config)
    except OSError as error:
      channel.send(json.dumps({'error': str(error)}).encode())
      return
    channel.send(json.dumps(confinement.protections).encode())
    gc.collect()
    gc.freeze()  # what is shared with runs is not touched by their collections
    while True:
      message, descriptors, _, _ = socket.recv_fds(channel, 16, len(range(6)))
      if not message:
        return
      if descriptors:  # else a request to kill a run that has just ended
        report = _run(confinement, channel, descriptors)
        if report is None:
          return
        channel.send(json.dumps(report).encode())


class Confinement:
  """How runs are confined on this machine, by trial.

  Attributes:
    protections: `{'files', 'network', 'processes': what enforces it}`, '' where nothing does.
  """

  def __init__(self, config: dict[str, Any]):
    self.limits, avoid = config['limits'], config['avoid']
    self._parent_directory = config['directory']
    self._readable = config['readable']
    self.user = _user_of_runs() if 'namespaces' not in avoid else None
    self.separate = 'namespaces' not in avoid and kernel.works(self._separate)
    # Root's processes are not counted by the kernel, so root who must stay root may start none.
    self.alone = not self.separate or (os.getuid() == 0 and self.user is None)
    filtered = 'seccomp' not in avoid and kernel.works(lambda: seccomp.install(True))
    self.filtered = filtered
    self.landlocked = (
      not self.separate
      and 'landlock' not in avoid
      and kernel.works(lambda: landlock.restrict(['/usr'], []))
    )
    if self.separate:
      namespaces.enter(self._readable)
    else:
      self.user = None  # who could not read an interpreter in somebody's home
    self.protections = {
      'files': 'namespace' if self.separate else 'landlock' if self.landlocked else '',
      'network': 'namespace' if self.separate else 'seccomp' if filtered else '',
      'processes': 'namespace' if self.separate else 'seccomp' if filtered else '',
    }
    if self.alone and not filtered:
      self.protections['processes'] = ''

  def _separate(self):
    namespaces.enter(self._readable)
    namespaces.renew(1 << 20)
    if not kernel.works(lambda: os.stat(namespaces.HOME)):
      raise OSError('No process can be started')

  def prepare(self) -> str:
    """Before a run is forked; the directory it works in."""
    if self.separate:
      namespaces.renew(self.limits['disk'])
      return namespaces.HOME
    return tempfile.mkdtemp(prefix='rljax-code-', dir=self._parent_directory)

  def confine(self, directory: str) -> None:
    """Gives up, in the process of the run, all that it must not have."""
    limits = self.limits
    os.environ.clear()
    os.environ.update(HOME=directory, TMPDIR=directory, OPENBLAS_NUM_THREADS='1', PATH='')
    tempfile.tempdir = None
    os.chdir(directory)
    os.umask(0o077)
    cpu = math.ceil(limits['seconds']) + 1
    for kind, soft, hard in (
      (resource.RLIMIT_CPU, cpu, cpu + 1),
      (resource.RLIMIT_AS, limits['memory'], limits['memory']),
      (resource.RLIMIT_FSIZE, limits['disk'], limits['disk']),
      (resource.RLIMIT_NOFILE, limits['open_files'], limits['open_files']),
      (resource.RLIMIT_CORE, 0, 0),
      (resource.RLIMIT_MEMLOCK, 0, 0),
      (resource.RLIMIT_MSGQUEUE, 0, 0),
    ):
      most = resource.getrlimit(kind)[1]
      least = (x if most == resource.RLIM_INFINITY else min(x, most) for x in (soft, hard))
      resource.setrlimit(kind, tuple(least))
    if self.separate and not self.alone:
      # This process is counted; without another user so is the zygote.
      count = limits['processes'] + (0 if self.user else 1)
      resource.setrlimit(resource.RLIMIT_NPROC, (count, count))
    if self.user is not None:
      os.setgroups([])
      os.setresgid(self.user, self.user, self.user)
      os.setresuid(self.user, self.user, self.user)
    kernel.die_with_parent(signal.SIGKILL)
    kernel.forgo_privileges()
    if self.landlocked:
      landlock.restrict([*self._readable, *namespaces.DEVICES], [directory, '/dev/null'])
    if self.filtered:
      seccomp.install(self.alone)


def _user_of_runs():
  """A user for runs alone, so that the kernel counts their processes; None if we may not switch."""
  if os.getuid() != 0:
    return None
  for user in (_OTHER_USERS + os.getpid(), _NOBODY):
    if kernel.works(lambda user=user: (os.setgroups([]), os.setresuid(user, user, user))):
      return user
  return None


def _run(confinement, channel, descriptors):
  """Forks twice (only children are in the new process namespace), waits, and buries everything.

  Returns None where the trainer has gone.
  """
  report, say = os.pipe()
  wait, go = os.pipe()
  guard = os.fork()
  if guard == 0:
    try:
      kernel.die_with_parent(signal.SIGKILL)
      channel.close()
      os.close(report)
      os.close(go)
      directory = confinement.prepare()
      child = os.fork()
      if child == 0:
        _start(confinement, directory, descriptors, wait, say)
      os.write(say, json.dumps([child, directory]).encode() + b'\n')
      os._exit(0)
    except BaseException as error:
      os.write(say, json.dumps([None, str(error)]).encode() + b'\n')
    finally:
      os._exit(1)
  for each in (say, wait, *descriptors):
    os.close(each)
  with os.fdopen(report, 'rb') as file:
    child, directory = json.loads(file.readline() or b'[null, "killed while it was started"]')
    os.waitpid(guard, 0)
    os.close(go)  # the run's parent is this process now, so it may ask to die with it
    error = file.read().decode()  # ends when the run begins
  if child is None:
    return {'error': directory}
  gone = _wait(child, channel)
  with contextlib.suppress(ProcessLookupError):
    os.killpg(child, signal.SIGKILL)
  os.kill(child, signal.SIGKILL)
  _, status, usage = os.wait4(child, 0)
  _bury()
  if not confinement.separate:
    remove(directory)
  if gone:
    return None
  if error:
    return {'error': error}
  return {'status': status, 'cpu': usage.ru_utime + usage.ru_stime, 'kilobytes': usage.ru_maxrss}


def _wait(child, channel):
  """Until the run has ended or shall end; true where the trainer has gone."""
  ended = os.pidfd_open(child)
  try:
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(channel, select.POLLIN)
    ready = [fd for fd, _ in poll.poll()]
    return ended not in ready and not channel.recv(16)
  finally:
    os.close(ended)


def _bury():
  """Kills and reaps what a run has left behind; with a process namespace there is nothing."""
  while True:
    try:
      if os.waitpid(-1, os.WNOHANG)[0]:
        continue
    except ChildProcessError:
      return
    with open(f'/proc/self/task/{os.getpid()}/children') as file:
      for child in file.read().split():
        os.kill(int(child), signal.SIGKILL)
    select.select([], [], [], 0.001)


def _start(confinement, directory, descriptors, wait, say):
  """The process of a run; nothing is said any more once the program has a word."""
  try:
    os.read(wait, 1)  # ends when the process that forked us has been reaped
    os.setsid()
    say = _place([*descriptors, say])
    with open(JOB, 'rb') as file:
      job = json.loads(file.read())
    sys.stdin = sys.__stdin__ = open(STDIN, encoding='utf-8', errors='surrogateescape')  # noqa: SIM115
    sys.stdout = sys.__stdout__ = open(STDOUT, 'w', encoding='utf-8')  # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(  # noqa: SIM115
      STDERR, 'w', encoding='utf-8', errors='backslashreplace', buffering=1
    )
    sys.argv = ['program']
    gc.enable()
    confinement.confine(directory)
    link = LINK if len(descriptors) > LINK else None
    runner = referee.run if 'test' in job else program.run
  except BaseException as error:
    with contextlib.suppress(BaseException):
      os.write(say, f'{type(error).__name__}: {error}'.encode())
    os._exit(1)
  os.close(say)
  runner(job, RESULT, link)


def _place(descriptors):
  """Puts the descriptors at 0, 1, 2, ... and closes all others; the number of the last one."""
  high = [fcntl.fcntl(each, fcntl.F_DUPFD, 64) for each in descriptors]
  for number, each in enumerate(high):
    os.dup2(each, number, inheritable=number <= STDERR)
  os.closerange(len(high), 1 << 20)
  return len(high) - 1


def remove(directory: str) -> None:
  """Removes a directory tree, however deep and whatever its permissions: level by level, what lies
  in a directory is moved up until nothing lies anywhere."""
  count, token = 0, secrets.token_hex(8)
  while entries := list(os.scandir(directory)):
    for entry in entries:
      if not entry.is_dir(follow_symlinks=False):
        os.unlink(entry.path)
        continue
      os.chmod(entry.path, 0o700)
      for name in os.listdir(entry.path):
        inner = os.path.join(entry.path, name)
        if os.path.isdir(inner) and not os.path.islink(inner):
          os.chmod(inner, 0o700)  # a directory is moved by writing to it
        count += 1
        os.rename(inner, os.path.join(directory, f'{token}-{count}'))
      os.rmdir(entry.path)
  os.rmdir(directory)
