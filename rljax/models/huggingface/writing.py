"""From parameters to a checkpoint that transformers and vLLM load."""

from __future__ import annotations

import json
import math
import os
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from rljax.models.config import DecoderConfig
from rljax.models.huggingface import names, tensors
from rljax.models.huggingface.fields import NO_EFFECT, fields_of
from rljax.models.huggingface.folder import read_fields
from rljax.models.specs import is_spec, specs

# What belongs to a checkpoint besides its weights and is copied as it is.
_COMPANIONS = (
  'added_tokens.json',
  'chat_template.jinja',
  'chat_template.json',
  'generation_config.json',
  'merges.txt',
  'special_tokens_map.json',
  'tokenizer.json',
  'tokenizer.model',
  'tokenizer_config.json',
  'vocab.json',
)
_OWN = {'architectures', 'model_type', 'dtype', 'torch_dtype', 'transformers_version'}


def save(
  path: str | pathlib.Path,
  config: DecoderConfig,
  params: Any,
  *,
  like: str | pathlib.Path | None = None,
  fields: Mapping[str, Any] | None = None,
  files: Mapping[str, str] | None = None,
  dtype: Any = None,
  max_shard_bytes: int = 5_000_000_000,
) -> None:
  """Writes a Hugging Face checkpoint: `config.json` and `model.safetensors`, or several with an
  index.

  It stands beside its place until it is complete, so a kill leaves all of it or nothing.

  Args:
    path: a new folder, or an empty one.
    config: the decoder.
    params: its parameters, on any sharding.
    like: a checkpoint folder whose tokenizer, generation config and token ids are taken over.
    fields: of `config.json`, such as `eos_token_id` or `max_position_embeddings`; they change
      nothing in the computation and win over those of `like`.
    files: texts of further files by name, such as a tokenizer's.
    dtype: type of the stored weights; None: that of each parameter.
    max_shard_bytes: of one file; a larger tensor has a file of its own.

  Raises:
    FileExistsError: there is something at `path`.
    ValueError: no family has the config's features, `params` are of another config, or a field
      would change the computation.
  """
  path = pathlib.Path(path).expanduser().absolute()
  if path.exists() and not (path.is_dir() and not any(path.iterdir())):
    raise FileExistsError(f'{path} exists and is not an empty folder; choose another place.')
  written = fields_of(config)
  places = list(names.entries(written['model_type'], config))
  kinds = _check(config, params, dtype)
  extra = {**(read_fields(pathlib.Path(like)) if like else {})}
  extra = {name: value for name, value in extra.items() if name in NO_EFFECT - _OWN}
  for name in fields or {}:
    if name not in NO_EFFECT - _OWN:
      raise ValueError(f'Field {name} follows from the config and cannot be set.')
  stored = str(kinds['embedding',])
  written |= {**extra, **(fields or {}), 'torch_dtype': stored}

  def make(entry):
    leaf = names.pick(params, entry.path)
    return lambda: entry.to_tensor(np.asarray(leaf[entry.place]))

  table = {entry.name: (kinds[entry.path], entry.shape, make(entry)) for entry in places}
  shards = _divide(
    {name: math.prod(s) * t.itemsize for name, (t, s, _) in table.items()}, max_shard_bytes
  )
  path.parent.mkdir(parents=True, exist_ok=True)
  unfinished = path.with_name(f'.{path.name}.{os.getpid()}')
  shutil.rmtree(unfinished, ignore_errors=True)
  unfinished.mkdir()
  try:
    for file, inside in shards.items():
      tensors.write(unfinished / file, {name: table[name] for name in inside})
    if len(shards) > 1:
      total = sum(math.prod(shape) * kind.itemsize for kind, shape, _ in table.values())
      weight_map = {name: file for file, inside in shards.items() for name in inside}
      index = {'metadata': {'total_size': total}, 'weight_map': weight_map}
      _write_json(unfinished / 'model.safetensors.index.json', index)
    _write_json(unfinished / 'config.json', written)
    for name in _COMPANIONS:
      if like and (pathlib.Path(like) / name).is_file():
        shutil.copyfile(pathlib.Path(like) / name, unfinished / name)
    for name, text in (files or {}).items():
      (unfinished / name).write_text(text, encoding='utf-8')
    os.replace(unfinished, path)  # takes the place of an empty folder, and of nothing else
  finally:
    shutil.rmtree(unfinished, ignore_errors=True)


def _check(config, params, dtype):
  """The stored type of each parameter by path; raises ValueError unless `params` fit `config`."""
  wanted = jax.tree_util.tree_leaves_with_path(specs(config), is_leaf=is_spec)
  given = {
    jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)
  }
  kinds = {}
  for keys, spec in wanted:
    name = jax.tree_util.keystr(keys)
    leaf = given.pop(name, None)
    if leaf is None or leaf.shape != spec.shape:
      found = 'is missing' if leaf is None else f'has shape {leaf.shape}'
      raise ValueError(f'Parameter {name} {found}; the config asks for {spec.shape}.')
    kind = np.dtype(leaf.dtype if dtype is None else dtype)
    if kind not in tensors.TYPES.values():
      raise ValueError(f'Parameter {name} would be stored as {kind}; use a float type.')
    kinds[tuple(key.key for key in keys)] = kind
  if given:
    raise ValueError(f'Parameters {", ".join(sorted(given))} are not part of the config.')
  return kinds


def _divide(sizes, limit):
  """Names by file, in order, each file as full as the limit allows."""
  groups: list[list[str]] = [[]]
  used = 0
  for name, size in sizes.items():
    if groups[-1] and used + size > limit:
      groups.append([])
      used = 0
    groups[-1].append(name)
    used += size
  if len(groups) == 1:
    return {'model.safetensors': groups[0]}
  return {
    f'model-{i + 1:05}-of-{len(groups):05}.safetensors': group for i, group in enumerate(groups)
  }


def _write_json(file, content):
  with open(file, 'w', encoding='utf-8') as opened:
    opened.write(json.dumps(content, indent=2) + '\n')
    opened.flush()
    os.fsync(opened.fileno())
