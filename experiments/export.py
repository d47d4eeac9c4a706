"""A run's policy as a Hugging Face checkpoint: `python -m experiments.export --checkpoint=...`.

    python -m experiments.export --checkpoint=RUN --output=DIR [--dtype=bfloat16]

transformers and vLLM load the folder. A run of a pretrained model keeps its tokenizer and token
ids; any other run gets its own tokenizer of characters.
"""

from __future__ import annotations

import pathlib
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from experiments import build, cli
from experiments.errors import UserError
from rljax import data
from rljax.models import huggingface, lora


def export(
  config: ConfigDict,
  checkpoint: str | pathlib.Path | None,
  output: str | pathlib.Path,
  dtype: str | None = None,
) -> None:
  """Writes the policy of a checkpoint to a new folder.

  Args:
    config: of the run.
    checkpoint: a run, its checkpoints folder, or one step's folder; None: the pretrained model of
      `model.path`.
    output: the folder, new or empty.
    dtype: type of the stored weights; None: that of the run's parameters.

  Raises:
    UserError: there is something at `output`, or the type is no float.
  """
  parts = build.check(config)
  params = lora.merge(build.load_params(parts, checkpoint))
  more = companions(config, parts)
  try:
    huggingface.save(output, parts.decoder, params, dtype=dtype, **more)
  except (FileExistsError, TypeError, ValueError) as error:
    raise UserError(str(error)) from error


def companions(config: ConfigDict, parts: build.Parts) -> dict[str, Any]:
  """What a run's model is saved with beside its weights, as arguments of `huggingface.save`."""
  if parts.pretrained is not None:
    return {'like': parts.pretrained}
  assert isinstance(parts.tokenizer, data.CharTokenizer)
  longest = parts.prompt_width + config.rl.max_new_tokens
  return {
    'fields': {'eos_token_id': parts.tokenizer.eos, 'max_position_embeddings': longest},
    'files': data.files_of(parts.tokenizer),
  }


def main() -> None:
  """Exports what the flags say."""
  values = flags.FLAGS
  export(cli.resolve_config(), values.checkpoint, values.output, values.dtype)
  print(f'The checkpoint is in {values.output}')


def run() -> None:
  """Command-line entry point."""
  flags.DEFINE_string('output', None, 'The new folder.', required=True)
  flags.DEFINE_string('dtype', None, "Type of the stored weights; by default the parameters' own.")
  cli.define_checkpoint_flags()
  cli.main(main)


if __name__ == '__main__':
  run()
