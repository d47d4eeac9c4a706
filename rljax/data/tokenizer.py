"""A tokenizer of single characters: every digit is a token, and nothing has to be downloaded.

Id 0 is the end token, the characters of the alphabet are 1, 2, ... in the alphabet's order, and -1
is padding everywhere in the library.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Protocol

import numpy as np

ARITHMETIC = '0123456789+-*/=(),;. []{}<>^\\:?'
REPLACEMENT = '\N{REPLACEMENT CHARACTER}'


class Tokenizer(Protocol):
  """What the library needs to know of a tokenizer; see `CharTokenizer` for each."""

  @property
  def eos(self) -> int: ...

  @property
  def stops(self) -> tuple[int, ...]: ...

  @property
  def vocab_size(self) -> int: ...

  def max_tokens(self, characters: int) -> int: ...

  def encode(self, text: str) -> np.ndarray: ...

  def encode_prompt(self, text: str) -> np.ndarray: ...

  def decode(self, ids) -> str: ...

  def words(self) -> list[bytes]: ...


@dataclasses.dataclass(frozen=True)
class CharTokenizer:
  """Characters to ids and back.

  The default alphabet has 31 characters, so that the vocabulary has 32.

  Attributes:
    alphabet: distinct Latin-1 characters.
  Raises:
    ValueError: the alphabet is empty, repeats a character or leaves Latin-1.

  >>> tokenizer = CharTokenizer('0123456789+=')
  >>> tokenizer.encode('1+0=')
  array([ 2, 11,  1, 12], dtype=int32)
  >>> tokenizer.decode([2, 2, 0, 5, -1])
  '11'
  """

  alphabet: str = ARITHMETIC

  def __post_init__(self):
    if not self.alphabet:
      raise ValueError('The alphabet is empty; give at least one character.')
    repeated = sorted({c for c in self.alphabet if self.alphabet.count(c) > 1})
    if repeated:
      raise ValueError(f'The alphabet {self.alphabet!r} repeats {repeated}; list a character once.')
    outside = [c for c in self.alphabet if ord(c) > 255]
    if outside:
      raise ValueError(f'The alphabet holds {outside}; only Latin-1 characters are supported.')

  @property
  def eos(self) -> int:
    """The id of the end token."""
    return 0

  @property
  def stops(self) -> tuple[int, ...]:
    """The ids that end a completion, `eos` first."""
    return (self.eos,)

  @property
  def vocab_size(self) -> int:
    """Number of ids: the alphabet and the end token."""
    return len(self.alphabet) + 1

  def max_tokens(self, characters: int) -> int:
    """Upper bound on the ids of a prompt of so many characters."""
    return characters

  @functools.cached_property
  def _ids(self) -> np.ndarray:
    table = np.full(256, -1, np.int32)
    table[[ord(c) for c in self.alphabet]] = np.arange(1, self.vocab_size)
    return table

  @functools.cached_property
  def _codes(self) -> np.ndarray:
    # Code points by id; the last entry stands for every id that the vocabulary lacks.
    return np.array([0, *map(ord, self.alphabet), ord(REPLACEMENT)], '<u4')

  def encode(self, text: str) -> np.ndarray:
    """Ids of `text`, int32 `[len(text)]`, without an end token.

    Raises:
      ValueError: a character is not in the alphabet.
    """
    try:
      ids = self._ids[np.frombuffer(text.encode('latin-1'), np.uint8)]
    except UnicodeEncodeError:
      ids = np.array([-1])
    if ids.size and ids.min() < 0:
      unknown = next(c for c in text if c not in self.alphabet)
      raise ValueError(
        f'Character {unknown!r} at position {text.index(unknown)} is not in the alphabet '
        f'{self.alphabet!r}.'
      )
    return ids

  def encode_prompt(self, text: str) -> np.ndarray:
    """Ids of a text that the model continues: as `encode`, since nothing marks the start."""
    return self.encode(text)

  def decode(self, ids) -> str:
    """Text of `ids` `[T]` up to the first end token or padding, whichever comes first.

    An id beyond the vocabulary, which a model with a padded vocabulary can draw, shows as U+FFFD:
    the answer is then wrong, and the run goes on.

    Raises:
      ValueError: `ids` is not a vector of integers, or one is below -1.
    """
    ids = np.asarray(ids)
    if ids.ndim != 1 or (ids.size and not np.issubdtype(ids.dtype, np.integer)):
      raise ValueError(f'decode needs integers [T], not {ids.dtype} {list(ids.shape)}.')
    stops = np.flatnonzero(ids <= 0)
    if stops.size:
      if ids.min() < -1:
        raise ValueError(f'Token id {ids.min()} is below -1, which is padding.')
      ids = ids[: stops[0]]
    if not ids.size:
      return ''
    return self._codes[np.minimum(ids, self.vocab_size)].tobytes().decode('utf-32-le')

  def words(self) -> list[bytes]:
    """What each id leaves in a text, in UTF-8; the end token nothing."""
    return [b'', *(c.encode() for c in self.alphabet)]
