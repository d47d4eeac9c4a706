"""The filter of system calls, run by a slow interpreter for both machines it knows."""

import errno
import struct

import pytest

from rljax.verifiers.sandbox import seccomp

ALLOW, KILL = 'allow', 'kill'
ARCHITECTURE = {'x86_64': 0xC000003E, 'aarch64': 0xC00000B7}
# From the kernel's tables: x86_64, aarch64.
NUMBERS = {
  'read': (0, 63),
  'openat': (257, 56),
  'socketpair': (53, 199),
  'socket': (41, 198),
  'ptrace': (101, 117),
  'io_uring_setup': (425, 425),
  'unshare': (272, 97),
  'clone': (56, 220),
  'clone3': (435, 435),
  'kill': (62, 129),
  'tgkill': (234, 131),
  'prlimit64': (302, 261),
  'fcntl': (72, 25),
  'ioctl': (16, 29),
  'prctl': (157, 167),
  'execve': (59, 221),
  'fchmod': (91, 52),
}
FORK, THREAD, NEWUSER = 17, 0x3D0F00, 0x10000011


def decision(code, machine, name, *arguments, architecture=None):
  """What the filter says of a call: an error number, ALLOW or KILL."""
  number = NUMBERS[name][('x86_64', 'aarch64').index(machine)] if isinstance(name, str) else name
  arguments = [*arguments, *[0] * (6 - len(arguments))]
  data = struct.pack('=iIQ6Q', number, architecture or ARCHITECTURE[machine], 0, *arguments)
  at, register = 0, 0
  while True:
    operation, if_true, if_false, value = struct.unpack_from('=HBBI', code, 8 * at)
    at += 1
    if operation == 0x20:
      (register,) = struct.unpack_from('=I', data, value)
    elif operation == 0x06:
      kinds = {0x7FFF0000: ALLOW, 0x80000000: KILL, 0x00050000: value & 0xFFFF}
      return kinds[value & 0xFFFF0000]
    else:
      true = {0x15: register == value, 0x35: register >= value, 0x45: bool(register & value)}
      at += if_true if true[operation] else if_false


@pytest.mark.parametrize('machine', ARCHITECTURE)
@pytest.mark.parametrize('alone', [False, True])
def test_decisions(machine, alone):
  code = seccomp.program(alone, machine, pid=77)

  def of(name, *arguments):
    return decision(code, machine, name, *arguments)

  for name in ('read', 'openat', 'socketpair'):
    assert of(name) == ALLOW
  for name in ('socket', 'ptrace', 'io_uring_setup', 'unshare'):
    assert of(name) == errno.EPERM
  assert of('clone3') == errno.ENOSYS
  assert of('clone', THREAD) == ALLOW
  assert of('clone', NEWUSER) == errno.EPERM
  assert of('ioctl', 0, 0x5412) == of('ioctl', 0, 0x8901) == errno.EPERM
  assert of('ioctl', 0, 0x5401) == ALLOW
  assert of('prctl', 1) == errno.EPERM and of('prctl', 15) == ALLOW
  only_alone = errno.EPERM if alone else ALLOW
  for name in ('execve', 'fchmod'):
    assert of(name) == only_alone
  assert of('clone', FORK) == only_alone
  assert of('kill', 1, 9) == of('tgkill', 78, 78, 9) == of('kill', (1 << 32) - 1, 9) == only_alone
  assert of('kill', 77, 9) == of('tgkill', 77, 80, 9) == ALLOW
  assert of('prlimit64', 0) == ALLOW and of('prlimit64', 5) == only_alone
  assert of('fcntl', 3, 8, 5) == of('fcntl', 3, 15, 5) == only_alone
  assert of('fcntl', 3, 1) == ALLOW


def test_other_sets_of_calls_are_closed():
  code = seccomp.program(False, 'x86_64', pid=1)
  assert decision(code, 'x86_64', 0x40000000 + 41) == errno.ENOSYS
  assert decision(code, 'x86_64', 'read', architecture=0x40000003) == KILL
