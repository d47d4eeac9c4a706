"""Which files a process may read and write, by Landlock (Linux 5.13); needs no privileges.

Landlock does not guard metadata (`stat`, `chmod`) and, before Linux 6.2, `truncate`; the seccomp
filter refuses to change those where Landlock is what keeps files apart.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
import struct
from collections.abc import Iterable

from . import kernel

# The same numbers on every machine.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG, _PATH_BENEATH = 1, 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_TRUNCATE, _IOCTL = 1 << 14, 1 << 15
_OF_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}  # how many each version knows; 16 from the fifth on


def restrict(readable: Iterable[str], writable: Iterable[str]) -> None:
  """This process and all that it starts see nothing but these paths, for good; absent ones are
  left out.

  Raises:
    OSError: the kernel has no Landlock.
  """
  kernel.forgo_privileges()
  version = kernel.call('syscall', _CREATE_RULESET, 0, 0, _VERSION_FLAG)
  every = (1 << _RIGHTS.get(version, 16)) - 1
  attributes = ctypes.create_string_buffer(struct.pack('Q', every), 8)
  rules = kernel.call('syscall', _CREATE_RULESET, attributes, 8, 0)
  try:
    for paths, rights in ((readable, _READ & every), (writable, every)):
      for path in paths:
        with contextlib.suppress(FileNotFoundError):
          _allow(rules, path, rights)
    kernel.call('syscall', _RESTRICT_SELF, rules, 0)
  finally:
    os.close(rules)


def _allow(rules, path, rights):
  beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
  try:
    if not stat.S_ISDIR(os.fstat(beneath).st_mode):
      rights &= _OF_A_FILE
    rule = ctypes.create_string_buffer(struct.pack('=Qi', rights, beneath), 12)
    kernel.call('syscall', _ADD_RULE, rules, _PATH_BENEATH, rule, 0)
  finally:
    os.close(beneath)
