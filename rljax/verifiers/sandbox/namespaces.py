"""A file system with nothing but the interpreter in it, no network, and process numbers of its
own.

Works for root with CAP_SYS_ADMIN and, through a user namespace, for anybody where the kernel allows
that (Linux 5.12 and newer).
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable

from . import kernel

HOME = '/sandbox'
DEVICES = ('/dev/null', '/dev/zero', '/dev/random', '/dev/urandom')

_NEWNS, _NEWUTS, _NEWIPC = 0x00020000, 0x04000000, 0x08000000
_NEWUSER, _NEWPID, _NEWNET = 0x10000000, 0x20000000, 0x40000000
_BIND, _REC, _PRIVATE = 0x1000, 0x4000, 1 << 18
_NOSUID, _NODEV = 2, 4
_DETACH = 2
_MOUNT_SETATTR, _PIVOT_ROOT = 442, {'x86_64': 155, 'aarch64': 41}
_HERE, _RECURSIVE, _READ_ONLY = -100, 0x8000, 1 | 2 | 4  # read-only, no setuid, no devices
_OVER = '/usr'  # a directory that every Linux has, to hang the new root on; only we see that
_OLD = '/old'


def enter(readable: Iterable[str]) -> None:
  """Puts this process into namespaces whose root holds `readable` (read-only), four devices, and
  an empty directory HOME.

  Raises:
    OSError: the kernel, or the container around us, does not allow it.
  """
  if os.geteuid() != 0 or not _without_user():
    _with_user()
  _mount(b'none', '/', None, _REC | _PRIVATE)
  _mount(b'tmpfs', _OVER, b'tmpfs', _NOSUID | _NODEV, b'size=1m,mode=0755')
  os.mkdir(_OVER + _OLD)
  kernel.call('syscall', _PIVOT_ROOT[kernel.MACHINE], _OVER.encode(), (_OVER + _OLD).encode())
  os.chdir('/')
  for path in dict.fromkeys([*DEVICES, *readable]):
    _show(path)
  os.mkdir(HOME)
  if not os.path.lexists('/tmp'):
    os.symlink(HOME, '/tmp')
  kernel.call('umount2', _OLD.encode(), _DETACH)
  os.rmdir(_OLD)
  _seal('/', 0)


def renew(size: int) -> None:
  """For this process an empty HOME of `size` bytes; for its children a process namespace, of which
  the first child is the init: when that ends, all others are killed."""
  kernel.call('unshare', _NEWPID | _NEWNS)
  options = f'size={size},nr_inodes=4096,mode=1777'.encode()
  _mount(b'tmpfs', HOME, b'tmpfs', _NOSUID | _NODEV, options)


def _without_user():
  try:
    kernel.call('unshare', _NEWNS | _NEWUTS | _NEWIPC | _NEWNET)
  except PermissionError:
    return False
  return True


def _with_user():
  user, group = os.geteuid(), os.getegid()
  kernel.call('unshare', _NEWUSER | _NEWNS | _NEWUTS | _NEWIPC | _NEWNET)
  # Inside not the number 0, so that nothing that is executed gets capabilities for being root.
  for name, text in (
    ('setgroups', 'deny'),
    ('uid_map', f'65534 {user} 1'),
    ('gid_map', f'65534 {group} 1'),
  ):
    with open(f'/proc/self/{name}', 'w') as file:
      file.write(text)


def _show(path):
  """Makes a path of the old root visible under the same name, read-only; a link stays a link."""
  old = _OLD + path
  # Already there: a link has led to it, or a directory above it is shown.
  if os.path.lexists(path) or not os.path.lexists(old):
    return
  above = os.path.dirname(path)
  if above != '/' and not os.path.lexists(above):
    # The first component that is a link is kept as one, or the path would mean something else.
    _parents(above)
    if os.path.lexists(path):
      return
  if os.path.islink(old):
    target = os.readlink(old)
    os.symlink(target, path)
    _show(os.path.normpath(os.path.join(above, target)))
    return
  if os.path.isdir(old):
    os.mkdir(path, 0o755)
  else:
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))
  _mount(old.encode(), path, None, _BIND | _REC)
  if path not in DEVICES:
    _seal(path, _RECURSIVE)


def _parents(path):
  """Empty directories, and the links among them, down to `path`."""
  above = os.path.dirname(path)
  if above != '/':
    _parents(above)
  if os.path.lexists(path):
    return
  if os.path.islink(_OLD + path):
    target = os.readlink(_OLD + path)
    os.symlink(target, path)
    _parents(os.path.normpath(os.path.join(above, target)))
  else:
    os.mkdir(path, 0o755)


def _mount(source, target, kind, flags, data=None):
  nothing = ctypes.c_char_p(None)
  kernel.call('mount', source, target.encode(), kind or nothing, flags, data or nothing)


def _seal(path, flags):
  attributes = ctypes.create_string_buffer(struct.pack('QQQQ', _READ_ONLY, 0, 0, 0), 32)
  kernel.call('syscall', _MOUNT_SETATTR, _HERE, path.encode(), flags, attributes, 32)
