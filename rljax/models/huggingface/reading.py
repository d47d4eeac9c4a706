"""From a checkpoint to parameters on their devices, without the whole of it in host memory."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rljax.models.config import DecoderConfig
from rljax.models.huggingface import names
from rljax.models.huggingface.fields import config_of
from rljax.models.huggingface.folder import fetch, read_fields, read_tables
from rljax.models.huggingface.tensors import TYPES, Stored
from rljax.models.specs import is_spec, specs


def load(
  path: str | pathlib.Path, *, shardings: Any = None, dtype: Any = None
) -> tuple[DecoderConfig, Any]:
  """Reads a Hugging Face checkpoint.

  Every device's part of every parameter is read from the files on its own; beside the parameters
  themselves one such part at a time is in host memory.

  Args:
    path: a folder with `config.json` and safetensors files, or a hub id.
    shardings: a sharding for each parameter, as `rljax.training.sharding.params` makes them from
      `models.specs(huggingface.read_config(path))`; None: the default device.
    dtype: type of the parameters; None: as stored.

  Returns:
    The decoder's config, whose type of activations is that of the parameters, and the parameters.

  Raises:
    FileNotFoundError: no such folder or file.
    ValueError: the config asks for what the decoder does not do, or the files are cut off, or
      tensors are missing, left over, of another shape or of a type that is no float.
  """
  folder = fetch(path)
  fields = read_fields(folder)
  try:
    config = config_of(fields)
    stored = read_tables(folder)
    places = list(names.entries(fields['model_type'], config))
    stored = _check(stored, places, config)
  except ValueError as error:
    raise error if str(folder) in str(error) else ValueError(f'{folder}: {error}') from error

  tree = specs(config)
  of_leaf: dict[tuple[str, ...], list[names.Entry]] = {}
  for entry in places:
    of_leaf.setdefault(entry.path, []).append(entry)

  def leaf(path, spec, sharding=None):
    parts = of_leaf[tuple(key.key for key in path)]
    types = [stored[entry.name].dtype for entry in parts]
    kind = np.dtype(functools.reduce(jnp.promote_types, types) if dtype is None else dtype)
    read = functools.partial(_read, parts, stored, kind, spec.shape)
    if sharding is None:
      return jax.block_until_ready(jax.device_put(read((slice(None),) * len(spec.shape))))
    return _place(read, spec.shape, sharding)

  trees = (tree,) if shardings is None else (tree, shardings)
  params = jax.tree_util.tree_map_with_path(leaf, *trees, is_leaf=is_spec)
  return dataclasses.replace(config, dtype=str(params['embedding'].dtype)), params


def _place(read, shape, sharding) -> jax.Array:
  """The array that is `read(index)` on each device, one device after the other.

  `jax.make_array_from_callback` would hold all of them on the host at once.
  """
  places = sharding.addressable_devices_indices_map(shape)
  arrays: list[jax.Array] = []
  last, part = None, None
  for device, index in sorted(places.items(), key=lambda item: str(item[1])):
    if index != last:  # devices that hold the same part share one reading
      last, part = index, read(index)
    arrays.append(jax.block_until_ready(jax.device_put(part, device)))
  return jax.make_array_from_single_device_arrays(shape, sharding, arrays)


def _read(parts, stored, dtype, shape, index) -> np.ndarray:
  """The slice `index` of a parameter from its parts."""
  spans = [range(*each.indices(size)) for each, size in zip(index, shape, strict=True)]
  result = np.empty([len(span) for span in spans], dtype)
  for entry in parts:
    target: list[int | slice] = []
    source: list[slice] = []
    for span, at in zip(spans, entry.place, strict=True):
      if isinstance(at, slice):
        target.append(slice(None))
        source.append(slice(span.start, span.stop))
      elif at in span:
        target.append(at - span.start)
      else:
        break
    else:
      result[tuple(target)] = entry.to_part(stored[entry.name].open())[tuple(source)]
  return result


def _check(
  stored: dict[str, Stored], places: list[names.Entry], config: DecoderConfig
) -> dict[str, Stored]:
  """The tensors that are wanted; raises ValueError unless they are what is stored."""
  # Buffers that older versions of transformers wrote and no version reads.
  stored = {k: v for k, v in stored.items() if not k.endswith('.rotary_emb.inv_freq')}
  if config.tied and 'lm_head.weight' in stored:
    _check_tied(stored.pop('lm_head.weight'), stored.get('model.embed_tokens.weight'))
  wanted = {entry.name: entry.shape for entry in places}
  for name, shape in wanted.items():
    if name not in stored:
      raise ValueError(f'Tensor {name} {list(shape)} is missing.')
    if stored[name].shape != shape:
      raise ValueError(
        f'Tensor {name} has shape {list(stored[name].shape)}; config.json asks for {list(shape)}.'
      )
    if stored[name].code not in TYPES:
      raise ValueError(
        f'Tensor {name} has type {stored[name].code}; weights of {", ".join(TYPES)} are read.'
      )
  unexpected = sorted(set(stored) - set(wanted))
  if unexpected:
    more = f' and {len(unexpected) - 1} more' if unexpected[1:] else ''
    raise ValueError(
      f'Tensor {unexpected[0]}{more} has no place in the model that config.json describes.'
    )
  return stored


def _check_tied(head: Stored, embedding: Stored | None) -> None:
  """Raises ValueError if the head that a tied checkpoint stores too is not its embedding."""
  if embedding is None or head.shape != embedding.shape or head.code != embedding.code:
    equal = False
  else:
    a, b = head.open(), embedding.open()
    rows = 4096  # at a time
    equal = all(np.array_equal(a[i : i + rows], b[i : i + rows]) for i in range(0, len(a), rows))
  if not equal:
    raise ValueError(
      'tie_word_embeddings is true, but lm_head.weight is another matrix than '
      'model.embed_tokens.weight.'
    )
