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
import math  # noqa: F401
import operator  # noqa: F401
import os
import random  # noqa: F401
import re  # noqa: F401
import select
import signal
import socket
import string  # noqa: F401
import sys
import typing  # noqa: F401

from . import confinement, kernel, program, referee, trees

# The descriptors of a run, in the order in which they come.
STDIN, STDOUT, STDERR, RESULT, JOB, LINK = range(6)


def main(number: int) -> None:
  """Serves runs, one at a time, until the other end of the socket `number` closes."""
  signal.pthread_sigmask(signal.SIG_SETMASK, [])  # the trainer's own may have been inherited
  with socket.socket(fileno=number) as channel:
    kernel.adopt_orphans()
    config = json.loads(channel.recv(1 << 16))
    sys.path += config['paths']
    try:
      confined = confinement.Confinement(config)
    except OSError as error:
      channel.send(json.dumps({'error': str(error)}).encode())
      return
    channel.send(json.dumps(confined.protections).encode())
    gc.collect()
    gc.freeze()  # what is shared with runs is not touched by their collections
    while True:
      message, descriptors, _, _ = socket.recv_fds(channel, 16, len(range(6)))
      if not message:
        return
      if descriptors:  # else a request to kill a run that has just ended
        report = _run(confined, channel, descriptors)
        if report is None:
          return
        channel.send(json.dumps(report).encode())


def _run(confined, channel, descriptors):
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
      directory = confined.prepare()
      child = os.fork()
      if child == 0:
        _start(confined, directory, descriptors, wait, say)
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
    trouble = file.read().decode()  # ends when the run begins
  if child is None:
    return {'error': directory}
  gone = _wait(child, channel)
  with contextlib.suppress(ProcessLookupError):
    os.killpg(child, signal.SIGKILL)
  os.kill(child, signal.SIGKILL)
  _, status, usage = os.wait4(child, 0)
  _bury()
  if not confined.separate:
    trees.remove(directory)
  if gone:
    return None
  if trouble:
    return {'error': trouble}
  return {'status': status, 'cpu': usage.ru_utime + usage.ru_stime}


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


def _start(confined, directory, descriptors, wait, say):
  """The process of a run; nothing is said any more once the program has a word."""
  try:
    os.read(wait, 1)  # ends when the process that forked us has been reaped
    os.setsid()
    say = _place([*descriptors, say])
    with open(JOB, 'rb') as file:
      job = json.loads(file.read())
    _reopen()
    sys.argv = ['program']
    gc.enable()
    confined.confine(directory)
    link = LINK if len(descriptors) > LINK else None
    runner = referee.run if 'test' in job else program.run
  except BaseException as error:
    with contextlib.suppress(BaseException):
      os.write(say, f'{type(error).__name__}: {error}'.encode())
    os._exit(1)
  os.close(say)
  runner(job, RESULT, link)


def _reopen():
  """The standard streams anew: those of the zygote know another file of that number."""
  for name, number, how, errors in (
    ('stdin', STDIN, 'r', 'surrogateescape'),
    ('stdout', STDOUT, 'w', 'strict'),
    ('stderr', STDERR, 'w', 'backslashreplace'),
  ):
    stream = open(number, how, encoding='utf-8', errors=errors)  # noqa: SIM115
    setattr(sys, name, stream)
    setattr(sys, f'__{name}__', stream)


def _place(descriptors):
  """Puts the descriptors at 0, 1, 2, ... and closes all others; the number of the last one."""
  high = [fcntl.fcntl(each, fcntl.F_DUPFD, 64) for each in descriptors]
  for number, each in enumerate(high):
    os.dup2(each, number, inheritable=number <= STDERR)
  os.closerange(len(high), 1 << 20)
  return len(high) - 1
