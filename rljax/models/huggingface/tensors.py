"""The safetensors file format: a length, a JSON table, and the bytes of the tensors.

Read through the page cache, so that a slice of a tensor costs the slice, and written tensor by
tensor, so that a checkpoint never stands in memory as a whole. bfloat16 is NumPy's by ml_dtypes.
"""

from __future__ import annotations

import json
import math
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

TYPES: Mapping[str, np.dtype] = {
  'F64': np.dtype(np.float64),
  'F32': np.dtype(np.float32),
  'F16': np.dtype(np.float16),
  'BF16': np.dtype(jnp.bfloat16),
}
_CODES = {dtype: code for code, dtype in TYPES.items()}


class Stored(NamedTuple):
  """Where a tensor lies.

  Attributes:
    file: the file.
    code: its type in the format's words; a key of `TYPES` or something that is no weight here.
    shape: its shape.
    start: its first byte in the file.
  """

  file: pathlib.Path
  code: str
  shape: tuple[int, ...]
  start: int

  @property
  def dtype(self) -> np.dtype:
    return TYPES[self.code]

  def open(self) -> np.ndarray:
    """A read-only view; the memory is given back when it is dropped."""
    if not math.prod(self.shape):
      return np.zeros(self.shape, self.dtype)
    return np.memmap(self.file, self.dtype, 'r', self.start, self.shape)


def read_table(file: pathlib.Path) -> dict[str, Stored]:
  """The tensors of one file by name.

  Raises:
    ValueError: the file is cut off or no safetensors file.
  """
  size = file.stat().st_size
  with open(file, 'rb') as opened:
    length = int.from_bytes(opened.read(8), 'little')
    if size < 8 or length > size - 8:
      raise ValueError(
        f'{file} has {size} bytes and a header of {length}: it is cut off, or no safetensors file.'
      )
    try:
      header = json.loads(opened.read(length))
      header.pop('__metadata__', None)
      table = {
        name: (each['dtype'], tuple(each['shape']), *each['data_offsets'])
        for name, each in header.items()
      }
    except (ValueError, TypeError, KeyError, AttributeError) as error:
      raise ValueError(f'The header of {file} cannot be read ({error}).') from error
  first = 8 + length
  for name, (code, shape, start, stop) in table.items():
    if first + stop > size:
      raise ValueError(
        f'{file} is cut off: tensor {name} ends at byte {first + stop}, the file at {size}. Fetch '
        'it again.'
      )
    if code in TYPES and math.prod(shape) * TYPES[code].itemsize != stop - start:
      raise ValueError(
        f'{file}: tensor {name} of shape {list(shape)} and type {code} takes '
        f'{math.prod(shape) * TYPES[code].itemsize} bytes, but the header gives it {stop - start}.'
      )
  return {
    name: Stored(file, code, shape, first + start)
    for name, (code, shape, start, _) in table.items()
  }


def write(
  file: pathlib.Path,
  tensors: Mapping[str, tuple[np.dtype, tuple[int, ...], Callable[[], np.ndarray]]],
) -> None:
  """Writes tensors, given as type, shape and a function that makes the values, one at a time."""
  header: dict = {'__metadata__': {'format': 'pt'}}  # transformers asks for it
  start = 0
  for name, (dtype, shape, _) in tensors.items():
    stop = start + math.prod(shape) * dtype.itemsize
    header[name] = {'dtype': _CODES[dtype], 'shape': list(shape), 'data_offsets': [start, stop]}
    start = stop
  text = json.dumps(header).encode()
  text += b' ' * (-len(text) % 8)  # tensors start at a multiple of eight
  with open(file, 'wb') as opened:
    opened.write(len(text).to_bytes(8, 'little') + text)
    for dtype, _, make in tensors.values():
      opened.write(np.ascontiguousarray(make(), dtype).reshape(-1).view(np.uint8).data)
    opened.flush()
    os.fsync(opened.fileno())
