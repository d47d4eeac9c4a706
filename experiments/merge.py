"""A model between its base and what RL made of it: `python -m experiments.merge --base=...`.

    python -m experiments.merge --base=DIR --tuned=DIR --out=DIR [--keep=0.25 --scale=0.7]

Of all that training changed, the largest entries are added to the base again, scaled down: the
responses stay short, and accuracy that training cost comes back (arXiv 2510.15110). Both may be a
run (or its checkpoints folder, or one step) or a Hugging Face checkpoint; the result is the latter,
with the tokenizer of the tuned one. `--per_tensor` takes the largest entries of each tensor. One
device holds both models; `JAX_PLATFORMS=cpu` takes the host.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from typing import Any, NamedTuple

import jax
from absl import flags

from configs import of_run
from experiments import build, cli
from experiments.errors import UserError
from experiments.export import companions
from rljax import merging, models
from rljax.models import huggingface, lora


class Loaded(NamedTuple):
  """A model, and what it is saved with as arguments of `huggingface.save`."""

  decoder: models.DecoderConfig
  params: Any
  more: dict[str, Any]


def merge(
  base: str | pathlib.Path,
  tuned: str | pathlib.Path,
  out: str | pathlib.Path,
  *,
  keep: float = 0.25,
  scale: float = 0.7,
  per_tensor: bool = False,
) -> None:
  """Writes `merging.update_selective_merge` of two checkpoints to a new folder.

  Args:
    base: a run, its checkpoints folder, one step's folder, or a Hugging Face checkpoint.
    tuned: the same of what was trained from it.
    out: the folder, new or empty.
    keep: share of the entries that keep what training added to them.
    scale: factor of that.
    per_tensor: whether each tensor keeps the same share, instead of the model as a whole.

  Raises:
    UserError: the models are not of one kind, a number is out of range, or there is something at
      `out`.
    FileNotFoundError: there is no checkpoint at one of the paths.
  """
  out = pathlib.Path(out).expanduser()
  if out.exists() and not (out.is_dir() and not any(out.iterdir())):
    raise UserError(f'{out} exists and is not an empty folder; choose another place.')
  old, new = load(base), load(tuned)
  for field in dataclasses.fields(models.DecoderConfig):
    a, b = (getattr(each.decoder, field.name) for each in (old, new))
    if a != b and field.name not in ('dtype', 'remat'):  # those change no parameter's meaning
      raise UserError(
        f'The models differ: {field.name} is {a!r} in {base} and {b!r} in {tuned}. Merge a model '
        'with what was trained from it.'
      )
  function = _merge_tensors if per_tensor else merging.update_selective_merge
  try:
    params = jax.jit(functools.partial(function, keep=keep, scale=scale))(old.params, new.params)
    huggingface.save(out, new.decoder, params, **new.more)
  except (FileExistsError, TypeError, ValueError) as error:
    raise UserError(str(error)) from error


def load(path: str | pathlib.Path) -> Loaded:
  """The model of a run or of a Hugging Face checkpoint, on the first device.

  Raises:
    UserError: it belongs to no run, or cannot be read.
    FileNotFoundError: there is nothing.
  """
  if huggingface.is_checkpoint(path):
    try:
      decoder, params = huggingface.load(path)
    except ValueError as error:
      raise UserError(str(error)) from error
    more: dict[str, Any] = {'like': pathlib.Path(path).expanduser()}
  else:
    config = of_run.get_config(str(path))
    parts = build.check(config)
    decoder, params = parts.decoder, lora.merge(build.load_params(parts, path))
    more = companions(config, parts)
  return Loaded(decoder, jax.device_put(params, jax.devices()[0]), more)


def _merge_tensors(base, tuned, *, keep, scale):
  """Each tensor of a checkpoint alone: layers are stacked here, and matrices of their own there."""

  def one(b, t):
    return merging.update_selective_merge_per_tensor(b, t, keep=keep, scale=scale)

  def rest(params):
    return {name: leaf for name, leaf in params.items() if name != 'layers'}

  layers = jax.vmap(one)(base['layers'], tuned['layers'])
  return {**one(rest(base), rest(tuned)), 'layers': layers}


def main() -> None:
  """Merges what the flags say."""
  values = flags.FLAGS
  merge(
    values.base,
    values.tuned,
    values.out,
    keep=values.keep,
    scale=values.scale,
    per_tensor=values.per_tensor,
  )
  print(f'The merged model is in {values.out}')


def run() -> None:
  """Command-line entry point."""
  flags.DEFINE_string('base', None, 'The model before training.', required=True)
  flags.DEFINE_string('tuned', None, 'The model after it.', required=True)
  flags.DEFINE_string('out', None, 'The new folder.', required=True)
  flags.DEFINE_float('keep', 0.25, 'Share of the entries that keep what training added to them.')
  flags.DEFINE_float('scale', 0.7, 'Factor of what is kept.')
  flags.DEFINE_bool('per_tensor', False, 'Take the largest entries of each tensor.')
  cli.main(main)


if __name__ == '__main__':
  run()
