"""What a program may use."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Limits:
  """What a program may use; each unit test is a run of its own.

  Attributes:
    seconds: wall-clock time of one run; processor time of one process is held to it as well.
    total_seconds: wall-clock time of all unit tests of a program; later ones count as timed out.
    memory: bytes of address space of one process, some 30 MB of them the interpreter's.
    processes: processes and threads of a run at one time.
    output: bytes that a run may print, and bytes of a result.
    disk: bytes of the working directory, and of one file.
    open_files: file descriptors of one process.
  """

  seconds: float = 5.0
  total_seconds: float = 60.0
  memory: int = 512 << 20
  processes: int = 8
  output: int = 1 << 20
  disk: int = 16 << 20
  open_files: int = 64

  def __post_init__(self):
    for name, least in (('memory', 64 << 20), ('processes', 1), ('output', 1024), ('disk', 4096)):
      if getattr(self, name) < least:
        raise ValueError(f'{name} is {getattr(self, name)}; it must be at least {least}.')
    if not 0 < self.seconds <= self.total_seconds:
      raise ValueError(
        f'seconds is {self.seconds} and total_seconds {self.total_seconds}; expected '
        '0 < seconds <= total_seconds.'
      )
    if self.open_files < 16:
      raise ValueError(f'open_files is {self.open_files}; it must be at least 16.')
