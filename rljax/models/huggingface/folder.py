"""The files of a checkpoint's folder, and how to come by one from the hub."""

from __future__ import annotations

import json
import pathlib
from typing import Any

from rljax.models.config import DecoderConfig
from rljax.models.huggingface import tensors
from rljax.models.huggingface.fields import config_of

# All that a model or its tokenizer is read from; neither pickles nor code.
_PATTERNS = ['*.json', '*.safetensors', 'tokenizer*', '*.jinja', 'merges.txt']


def fetch(path: str | pathlib.Path) -> pathlib.Path:
  """The folder of a checkpoint: `path` itself, or a copy from the hub of the id `owner/name`.

  Raises:
    FileNotFoundError: there is no such folder, and it cannot be fetched.
  """
  folder = pathlib.Path(path).expanduser()
  if folder.is_dir():
    return folder
  if str(path).count('/') != 1 or str(path).startswith(('.', '/', '~')):
    raise FileNotFoundError(f'There is no folder {path}, and it is no hub id like owner/name.')
  try:
    import huggingface_hub
  except ImportError as error:
    raise FileNotFoundError(
      f'There is no folder {path}. To fetch it from the hub, install huggingface_hub: '
      "pip install 'rljax[hf]'."
    ) from error
  try:
    return pathlib.Path(huggingface_hub.snapshot_download(str(path), allow_patterns=_PATTERNS))
  # Its errors come from several libraries: of the network, of the hub, of the local cache.
  except Exception as error:
    raise FileNotFoundError(
      f'There is no folder {path}, and it could not be fetched from the hub '
      f'({type(error).__name__}: {" ".join(str(error).split())[:200]}). Check the name and the '
      'connection, or give the path of a folder.'
    ) from error


def is_checkpoint(path: str | pathlib.Path) -> bool:
  """Whether there is a folder with a `config.json` of this format."""
  file = pathlib.Path(path).expanduser() / 'config.json'
  try:
    return 'model_type' in json.loads(file.read_text(encoding='utf-8'))
  except (OSError, ValueError, TypeError):
    return False


def read_fields(folder: pathlib.Path) -> dict[str, Any]:
  """The content of `config.json`."""
  file = folder / 'config.json'
  if not file.is_file():
    raise FileNotFoundError(f'There is no config.json in {folder}; it is no checkpoint.')
  try:
    fields = json.loads(file.read_text(encoding='utf-8'))
  except ValueError as error:
    raise ValueError(f'{file} cannot be read: {error}') from error
  if not isinstance(fields, dict):
    raise ValueError(f'{file} holds no JSON object.')
  return fields


def read_config(path: str | pathlib.Path) -> DecoderConfig:
  """The decoder of a folder or hub id; as `config_of`, and the errors of `fetch`."""
  folder = fetch(path)
  try:
    return config_of(read_fields(folder))
  except ValueError as error:
    raise ValueError(f'{folder}: {error}') from error


def read_tables(folder: pathlib.Path) -> dict[str, tensors.Stored]:
  """Every tensor of a folder by name, in one file or in several with an index.

  Raises:
    FileNotFoundError: there are no safetensors files, or one of them is missing.
    ValueError: a file is damaged, or the index does not fit to the files.
  """
  single, index = folder / 'model.safetensors', folder / 'model.safetensors.index.json'
  if single.is_file():
    return tensors.read_table(single)
  if not index.is_file():
    pickles = [*folder.glob('*.bin'), *folder.glob('*.pt')]
    hint = ' Its pickled weights are not read; convert them to safetensors.' if pickles else ''
    raise FileNotFoundError(
      f'{folder} has neither model.safetensors nor model.safetensors.index.json.{hint}'
    )
  try:
    files = json.loads(index.read_text(encoding='utf-8'))['weight_map']
    names = sorted(set(files.values()))
  except (ValueError, TypeError, KeyError, AttributeError) as error:
    raise ValueError(f'{index} cannot be read ({error}).') from error
  found: dict[str, tensors.Stored] = {}
  for name in names:
    if pathlib.PurePath(name).name != name:
      raise ValueError(f'{index} names {name!r}, which is no file of its own folder.')
    if not (folder / name).is_file():
      raise FileNotFoundError(f'{folder / name} is missing; {index.name} names it.')
    found |= tensors.read_table(folder / name)
  missing = sorted(set(files) - set(found))
  if missing:
    raise ValueError(f'{index} names {missing[0]}, which is in none of its files.')
  return found
