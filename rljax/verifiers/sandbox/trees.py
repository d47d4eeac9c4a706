"""Directories that a program has left behind."""

from __future__ import annotations

import os
import secrets


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
