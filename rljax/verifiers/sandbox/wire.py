"""Plain values as JSON, and frames of bytes between processes that do not trust each other.

Decoding runs no code of the sender: what comes out is made of None, bool, int, float, complex, str,
bytes, list, tuple, set, frozenset and dict of exactly these types, and of what the receiver puts in
the place of other objects.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

_SMALL = 1 << 63


def encode(value: Any, other: Callable[[Any], Any] | None = None) -> Any:
  """A value as nested JSON lists, each opened by a letter for its type.

  Args:
    value: subclasses of the plain types are other objects.
    other: what to send for other objects, such as `['o', number]`; None: they are a TypeError.
  """
  kind = type(value)
  if value is None or kind is bool or kind is str or kind is float:
    return value
  if kind is int:
    return value if -_SMALL < value < _SMALL else ['i', hex(value)]  # decimal has a length limit
  if kind in _LETTERS:
    return [_LETTERS[kind], *(encode(each, other) for each in value)]
  if kind is dict:
    return ['d', *(encode(each, other) for item in value.items() for each in item)]
  if kind is complex:
    return ['c', value.real, value.imag]
  if kind is bytes:
    return ['b', value.hex()]
  if other is None:
    raise TypeError(f'{kind.__name__} is no plain value')
  return other(value)


def decode(tree: Any, find: Callable[[int], Any] | None = None) -> Any:
  """The value of `encode`.

  Args:
    tree: what `json.loads` gave; may be anything.
    find: what to put in the place of other objects, by their number.
  Raises:
    ValueError: it is none.
  """
  if not isinstance(tree, list):
    if isinstance(tree, dict):
      raise ValueError('JSON objects have no meaning here')
    return tree
  try:
    letter, *rest = tree
    if letter in _TYPES:
      return _TYPES[letter]([decode(each, find) for each in rest])
    if letter == 'd':
      values = [decode(each, find) for each in rest]
      return dict(zip(values[::2], values[1::2], strict=True))
    if letter == 'o' and find is not None:
      return find(*rest)
    return _READ[letter](*rest)
  except (TypeError, LookupError, RecursionError) as error:
    raise ValueError(f'Not a value: {error}') from None


def loads(text: bytes) -> Any:
  """JSON from anybody; ValueError where it is none."""
  try:
    return json.loads(text)
  except RecursionError:
    raise ValueError('Nested too deeply') from None


def send(fd: int, message: Any) -> None:
  """Writes one frame: its length in four bytes, then JSON."""
  text = json.dumps(message).encode()
  frame = memoryview(len(text).to_bytes(4, 'little') + text)
  while frame:
    frame = frame[os.write(fd, frame) :]


def receive(fd: int, most: int) -> Any:
  """Reads one frame.

  Raises:
    EOFError: nobody writes any more.
    ValueError: it has more than `most` bytes, or is not JSON.
  """
  length = int.from_bytes(_read(fd, 4), 'little')
  if length > most:
    raise ValueError(f'A message of {length} bytes')
  return loads(_read(fd, length))


def _read(fd, count):
  parts = []
  while count:
    part = os.read(fd, min(count, 1 << 16))
    if not part:
      raise EOFError
    parts.append(part)
    count -= len(part)
  return b''.join(parts)


def _integer(text):
  return int(text, 16)


_TYPES: dict[str, Callable[[list[Any]], Any]] = {'l': list, 't': tuple, 's': set, 'f': frozenset}
_READ: dict[str, Callable[..., Any]] = {'i': _integer, 'c': complex, 'b': bytes.fromhex}
_LETTERS: dict[type, str] = {list: 'l', tuple: 't', set: 's', frozenset: 'f'}
