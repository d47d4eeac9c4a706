"""Scores for worker processes: those that behave and those that do not."""

import ctypes
import os
import sys
import time

from rljax.verifiers import BadTarget


def equal(answer, target):
  return answer == target


def misbehave(answer, target):
  """Does what the answer says."""
  if answer == 'hang':
    time.sleep(1000)
  if answer == 'compute':
    return 9 ** (9**9) > 0  # one call into C, which no signal handler of Python interrupts
  if answer == 'die':
    os._exit(3)
  if answer == 'crash':
    ctypes.string_at(0)
  if answer == 'exit':
    sys.exit(0)
  if answer == 'raise':
    raise KeyError(answer)
  if answer == 'recurse':
    return misbehave(answer, target)
  if answer == 'eat':
    return len(bytearray(64 << 30))
  if answer == 'print':
    print('{"not": "an outcome"}' * 10000, flush=True)
    os.write(1, b'noise')
    os.write(2, b'noise')
    return 1.0
  if answer == 'surrogate \ud800':
    return 1.0
  if answer == 'pid':
    return float(os.getpid() == int(target))
  if target == 'bad':
    raise BadTarget(target)
  garbage = {'nan': float('nan'), 'inf': float('inf'), 'none': None, 'two': 2.0, 'text': '1'}
  return garbage[answer] if answer in garbage else float(answer == target)


def zero(answer, target):
  return 0.0
