"""What the process of a run gives up, by whatever this machine has for it."""

from __future__ import annotations

import math
import os
import resource
import signal
import tempfile
from typing import Any

from . import kernel, landlock, namespaces, seccomp

_OTHER_USERS = 0x70000000  # nobody's: above what systemd and container tools give away
_NOBODY = 65534


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
      if most != resource.RLIM_INFINITY:
        soft, hard = min(soft, most), min(hard, most)
      resource.setrlimit(kind, (soft, hard))
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
