"""A filter that refuses system calls, as a small BPF program.

It lists what is refused, not what is allowed: programs keep every call that the standard library
makes for files, memory, time and threads.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from . import kernel

# Name: number on x86_64, on aarch64 (None where that has no such call).
_REFUSED = {
  # the network; socketpair stays
  'socket': (41, 198),
  'connect': (42, 203),
  'bind': (49, 200),
  # other processes
  'ptrace': (101, 117),
  'process_vm_readv': (310, 270),
  'process_vm_writev': (311, 271),
  'pidfd_getfd': (438, 438),
  'setpriority': (141, 140),
  'ioprio_set': (251, 30),
  'sched_setparam': (142, 118),
  'sched_setscheduler': (144, 119),
  'sched_setaffinity': (203, 122),
  'sched_setattr': (314, 274),
  'migrate_pages': (256, 238),
  'move_pages': (279, 239),
  # another view of the file system, other privileges
  'unshare': (272, 97),
  'setns': (308, 268),
  'mount': (165, 40),
  'umount2': (166, 39),
  'pivot_root': (155, 41),
  'chroot': (161, 51),
  'open_tree': (428, 428),
  'move_mount': (429, 429),
  'fsopen': (430, 430),
  'fsconfig': (431, 431),
  'fsmount': (432, 432),
  'fspick': (433, 433),
  'mount_setattr': (442, 442),
  'name_to_handle_at': (303, 264),
  'open_by_handle_at': (304, 265),
  # memory that no limit counts
  'memfd_create': (319, 279),
  'memfd_secret': (447, 447),
  'shmget': (29, 194),
  'msgget': (68, 186),
  'semget': (64, 190),
  'mq_open': (240, 180),
  # the kernel's own engines, and ways around this filter
  'bpf': (321, 280),
  'perf_event_open': (298, 241),
  'userfaultfd': (323, 282),
  'io_uring_setup': (425, 425),
  'io_uring_enter': (426, 426),
  'io_uring_register': (427, 427),
  'add_key': (248, 217),
  'request_key': (249, 218),
  'keyctl': (250, 219),
  'fanotify_init': (300, 262),
  'personality': (135, 92),
  'syslog': (103, 116),
  # the machine
  'reboot': (169, 142),
  'kexec_load': (246, 104),
  'init_module': (175, 105),
  'finit_module': (313, 273),
  'delete_module': (176, 106),
  'swapon': (167, 224),
  'swapoff': (168, 225),
  'settimeofday': (164, 170),
  'clock_settime': (227, 112),
  'adjtimex': (159, 171),
  'clock_adjtime': (305, 266),
  'sethostname': (170, 161),
  'setdomainname': (171, 162),
  'acct': (163, 89),
  'quotactl': (179, 60),
  'iopl': (172, None),
  'ioperm': (173, None),
}
# More for a process that no namespace separates from others of its user.
_REFUSED_ALONE = {
  'fork': (57, None),
  'vfork': (58, None),
  'execve': (59, 221),
  'execveat': (322, 281),
  'tkill': (200, 130),
  'rt_sigqueueinfo': (129, 138),
  'rt_tgsigqueueinfo': (297, 240),
  'pidfd_open': (434, 434),
  'pidfd_send_signal': (424, 424),
  # what Landlock lets through
  'chmod': (90, None),
  'fchmod': (91, 52),
  'fchmodat': (268, 53),
  'fchmodat2': (452, 452),
  'chown': (92, None),
  'fchown': (93, 55),
  'lchown': (94, None),
  'fchownat': (260, 54),
  'setxattr': (188, 5),
  'lsetxattr': (189, 6),
  'fsetxattr': (190, 7),
  'setxattrat': (463, 463),
  'removexattr': (197, 14),
  'lremovexattr': (198, 15),
  'fremovexattr': (199, 16),
  'removexattrat': (466, 466),
  'utime': (132, None),
  'utimes': (235, None),
  'futimesat': (261, None),
  'utimensat': (280, 88),
  'truncate': (76, 45),
}
_CLONE = {'x86_64': 56, 'aarch64': 220}
_CLONE3 = 435
_KILL = {'x86_64': 62, 'aarch64': 129}
_TGKILL = {'x86_64': 234, 'aarch64': 131}
_PRLIMIT = {'x86_64': 302, 'aarch64': 261}
_FCNTL = {'x86_64': 72, 'aarch64': 25}
_IOCTL = {'x86_64': 16, 'aarch64': 29}
_PRCTL = {'x86_64': 157, 'aarch64': 167}
_ARCHITECTURE = {'x86_64': 0xC000003E, 'aarch64': 0xC00000B7}

_CLONE_THREAD = 0x00010000
_NEW_NAMESPACES = 0x7E020000  # every CLONE_NEW* flag
_X32 = 0x40000000  # x86_64 answers to a second set of numbers from here on
_SET_OWNER = (8, 15)  # fcntl: F_SETOWN, F_SETOWN_EX send signals to whom they name,
_IOCTL_OWNER = (0x8901, 0x8902)  # and so do FIOSETOWN, SIOCSPGRP
_INJECT_INPUT = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX

_OUTLIVE_PARENT = (1,)  # prctl: PR_SET_PDEATHSIG

_ALLOW = 0x7FFF0000
_KILL_PROCESS = 0x80000000
_SET_SECCOMP, _FILTER = 22, 2
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data


def install(alone: bool) -> None:
  """Puts the filter on this process and all that it starts, for good; needs no privileges.

  Args:
    alone: refuse also to start processes, to signal others and to change what Landlock does not
      guard: for a process that shares its process namespace with others.
  Raises:
    OSError: the kernel has no such filters, or this machine's call numbers are not known.
  """
  if kernel.MACHINE not in _ARCHITECTURE:
    raise OSError(errno.ENOSYS, f'No table of system calls for {kernel.MACHINE}')
  kernel.forgo_privileges()
  code = program(alone, kernel.MACHINE, os.getpid())
  instructions = ctypes.create_string_buffer(code, len(code))
  header = struct.pack('HxxxxxxP', len(code) // 8, ctypes.addressof(instructions))
  kernel.call('prctl', _SET_SECCOMP, _FILTER, ctypes.create_string_buffer(header), 0, 0)


def program(alone: bool, machine: str, pid: int) -> bytes:
  """The filter for a machine; `pid` is the one process that may be signalled when `alone`."""
  column = ('x86_64', 'aarch64').index(machine)
  refused = _REFUSED | (_REFUSED_ALONE if alone else {})
  code = _load(_ARCH) + _jump(_EQUAL, _ARCHITECTURE[machine], 1, 0) + _give(_KILL_PROCESS)
  code += _load(_NUMBER)
  if machine == 'x86_64':
    code += _jump(_AT_LEAST, _X32, 0, 1) + _refuse(errno.ENOSYS)
  for numbers in refused.values():
    if numbers[column] is not None:
      code += _on(numbers[column], _refuse(errno.EPERM))
  # clone3 has its flags in memory, where no filter can look; the C library then takes clone.
  code += _on(_CLONE3, _refuse(errno.ENOSYS))
  code += _on(_CLONE[machine], _clone(alone))
  code += _on(_IOCTL[machine], _unless_equal(1, _INJECT_INPUT + _IOCTL_OWNER))
  code += _on(_PRCTL[machine], _unless_equal(0, _OUTLIVE_PARENT))
  if alone:
    for number in (_KILL[machine], _TGKILL[machine]):
      code += _on(number, _only_equal(0, pid))
    code += _on(_PRLIMIT[machine], _only_equal(0, 0))
    code += _on(_FCNTL[machine], _unless_equal(1, _SET_OWNER))
  return code + _give(_ALLOW)


def _clone(alone):
  flags = _argument(0)
  refused = _jump(_ANY_BIT, _NEW_NAMESPACES, 0, 1) + _refuse(errno.EPERM)
  if alone:
    refused += _jump(_ANY_BIT, _CLONE_THREAD, 1, 0) + _refuse(errno.EPERM)
  return flags + refused + _give(_ALLOW)


def _only_equal(index, value):
  accepted = _jump(_EQUAL, value, 1, 0) + _refuse(errno.EPERM)
  return _argument(index) + accepted + _give(_ALLOW)


def _unless_equal(index, values):
  tests = b''.join(_jump(_EQUAL, value, 0, 1) + _refuse(errno.EPERM) for value in values)
  return _argument(index) + tests + _give(_ALLOW)


def _on(number, then):
  return _jump(_EQUAL, number, 0, len(then) // 8) + then


def _argument(index):
  return _load(_ARGUMENTS + 8 * index)  # its lower half: both machines are little-endian


def _load(offset):
  return struct.pack('HBBI', _LOAD, 0, 0, offset)


def _jump(test, value, if_true, if_false):
  return struct.pack('HBBI', test, if_true, if_false, value)


def _refuse(number):
  return _give(0x00050000 | number)


def _give(action):
  return struct.pack('HBBI', _RETURN, 0, 0, action)
