"""The tokenizer of a Hugging Face checkpoint behind the interface of `CharTokenizer`."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rljax.data.tokenizer import REPLACEMENT, CharTokenizer


@dataclasses.dataclass(frozen=True)
class PretrainedTokenizer:
  """Text to the ids of a checkpoint's `tokenizer.json` and back.

  Padding is -1, as everywhere in the library; the checkpoint's own padding token is one like any
  other. The end token is its `eos_token`, which a chat model's tokenizer sets to the end of a turn.
  Code of the checkpoint is not run.

  Attributes:
    path: the folder.
  Raises:
    ValueError: the folder has no tokenizer that can be read, or one without an end token.
    ImportError: transformers is not installed.
  """

  path: str

  def __post_init__(self):
    if self._tokenizer.eos_token_id is None:
      raise ValueError(f'The tokenizer of {self.path} has no eos_token, which ends a completion.')

  @functools.cached_property
  def _tokenizer(self):
    try:
      import transformers
    except ImportError as error:
      raise ImportError(
        "A checkpoint's tokenizer needs transformers: pip install 'rljax[hf]'."
      ) from error
    try:
      return transformers.AutoTokenizer.from_pretrained(self.path, trust_remote_code=False)
    # A damaged file shows as errors of JSON, of lookups, and of the library in Rust.
    except Exception as error:
      raise ValueError(
        f'The tokenizer of {self.path} cannot be read '
        f'({type(error).__name__}: {" ".join(str(error).split())[:200]}).'
      ) from error

  @property
  def eos(self) -> int:
    """The id of the end token."""
    return self._tokenizer.eos_token_id

  @functools.cached_property
  def vocab_size(self) -> int:
    """One more than the largest id; the model's vocabulary may be larger."""
    return max(self._tokenizer.get_vocab().values()) + 1

  def max_tokens(self, characters: int) -> int:
    """Upper bound on the ids of a prompt of so many ASCII characters."""
    return len(self.encode_prompt('')) + 1 + characters  # 1: some mark the start of a word

  def encode(self, text: str) -> np.ndarray:
    """Ids of `text`, int32 `[T]`, without special tokens at its ends."""
    return np.array(self._tokenizer.encode(text, add_special_tokens=False), np.int32)

  def encode_prompt(self, text: str) -> np.ndarray:
    """Ids of `text` after what this tokenizer starts a text with, if anything, int32 `[T]`."""
    ids = self._tokenizer.encode(text, add_special_tokens=True)
    # Some end every text with the end token; a prompt goes on.
    return np.array(ids[:-1] if ids and ids[-1] == self.eos else ids, np.int32)

  def chat(self, messages: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Ids of a conversation and the start of the assistant's turn, int32 `[T]`; the chat template.

    Args:
      messages: `{'role': 'system' | 'user' | 'assistant', 'content': text}` each.
    Raises:
      ValueError: the checkpoint has no chat template.
    """
    if not self._tokenizer.chat_template:
      raise ValueError(f'The tokenizer of {self.path} has no chat template.')
    text = self._tokenizer.apply_chat_template(
      list(messages), tokenize=False, add_generation_prompt=True
    )
    return self.encode(text)  # the template writes the special tokens itself

  def decode(self, ids) -> str:
    """Text of `ids` `[T]` up to the first end token or padding, whichever comes first.

    Special tokens show as their text and an id beyond the vocabulary, which a model with a padded
    vocabulary can draw, as U+FFFD.

    Raises:
      ValueError: `ids` is not a vector of integers, or one is below -1.
    """
    ids = np.asarray(ids)
    if ids.ndim != 1 or (ids.size and not np.issubdtype(ids.dtype, np.integer)):
      raise ValueError(f'decode needs integers [T], not {ids.dtype} {list(ids.shape)}.')
    if ids.size and ids.min() < -1:
      raise ValueError(f'Token id {ids.min()} is below -1, which is padding.')
    stops = np.flatnonzero((ids < 0) | (ids == self.eos))
    ids = ids[: stops[0]] if stops.size else ids
    pieces = np.split(ids, np.flatnonzero(ids >= self.vocab_size))
    return REPLACEMENT.join(
      self._tokenizer.decode(
        piece[i > 0 :].tolist(), skip_special_tokens=False, clean_up_tokenization_spaces=False
      )
      for i, piece in enumerate(pieces)
    )


def files_of(tokenizer: CharTokenizer) -> dict[str, str]:
  """The files, text by name, from which transformers makes a tokenizer with the same ids."""
  end = '<|end|>'
  tokens = {end: tokenizer.eos} | {c: i + 1 for i, c in enumerate(tokenizer.alphabet)}
  flags = dict.fromkeys(('single_word', 'lstrip', 'rstrip', 'normalized'), False)
  content = {
    'version': '1.0',
    'truncation': None,
    'padding': None,
    'added_tokens': [{'id': tokenizer.eos, 'content': end, 'special': True, **flags}],
    'normalizer': None,
    'pre_tokenizer': {
      'type': 'Split',
      'pattern': {'Regex': r'[\s\S]'},
      'behavior': 'Isolated',
      'invert': False,
    },
    'post_processor': None,
    'decoder': {'type': 'Fuse'},
    # No token of this name exists, so a character that is not in the alphabet is an error.
    'model': {'type': 'WordLevel', 'vocab': tokens, 'unk_token': '<|unknown|>'},
  }
  settings = {
    'tokenizer_class': 'PreTrainedTokenizerFast',
    'eos_token': end,
    'clean_up_tokenization_spaces': False,
  }
  return {
    'tokenizer.json': json.dumps(content, indent=2) + '\n',
    'tokenizer_config.json': json.dumps(settings, indent=2) + '\n',
  }
