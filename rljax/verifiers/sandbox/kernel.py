"""Calls of the Linux kernel that Python 3.11 has no name for."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Callable

MACHINE = platform.machine()

_LIBC = ctypes.CDLL(None, use_errno=True)
_PDEATHSIG, _NO_NEW_PRIVS, _CHILD_SUBREAPER = 1, 38, 36
_CAPABILITY_VERSION = 0x20080522
_CAPSET = {'x86_64': 126, 'aarch64': 91}


def call(function: str, *arguments) -> int:
  """A function of the C library by name; OSError where it reports one."""
  found = getattr(_LIBC, function)(*[_long(a) for a in arguments])
  if found < 0:
    number = ctypes.get_errno()
    raise OSError(number, f'{function}: {os.strerror(number)}')
  return found


def die_with_parent(signal: int) -> None:
  """This process gets `signal` when its parent ends. A change of user undoes that."""
  call('prctl', _PDEATHSIG, signal, 0, 0, 0)


def adopt_orphans() -> None:
  """Descendants whose parent ends become children of this process."""
  call('prctl', _CHILD_SUBREAPER, 1, 0, 0, 0)


def forgo_privileges() -> None:
  """Gives up every capability of this process; none can be had again, whatever it executes."""
  call('prctl', _NO_NEW_PRIVS, 1, 0, 0, 0)
  if MACHINE in _CAPSET:
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    call('syscall', _CAPSET[MACHINE], header, (ctypes.c_uint32 * 6)())


def works(attempt: Callable[[], object]) -> bool:
  """True if `attempt`, made in a process of its own, raises nothing."""
  child = os.fork()
  if child == 0:
    status = 1
    try:
      attempt()
      status = 0
    except Exception:  # the answer is no, whatever the reason
      pass
    finally:
      os._exit(status)
  return os.waitpid(child, 0)[1] == 0


def _long(argument):
  """Variadic functions read whole registers, so a plain int must not be passed as 32 bits."""
  if isinstance(argument, bytes):
    return ctypes.c_char_p(argument)
  return ctypes.c_long(argument) if isinstance(argument, int) else argument
