"""Low-rank adapters as the directories that PEFT and vLLM load."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import jax
import numpy as np

from rljax.models.huggingface import names, tensors


def save_adapter(path: str | pathlib.Path, adapter: Any, *, alpha: float, base: str = '') -> None:
  """Writes a LoRA directory for `peft.PeftModel.from_pretrained(model, path)`, in float32.

  For the checkpoint that `save` makes of merged parameters no adapter is needed:
  `save(path, config, lora.merge(params))`.

  Args:
    path: the directory; created if missing, its two files are replaced.
    adapter: as for `lora.join`, of one rank.
    alpha: as for `lora.join`.
    base: name or path of the base checkpoint, for those who load the adapter without naming one.
  """
  layers = jax.device_get(adapter['layers'])
  (rank,) = {factors['a'].shape[-1] for factors in layers.values()}
  # Projections have the same names in every family.
  rows = [row for row in names.TABLES['llama'] if row.inputs and row.leaf in layers]
  table = {}
  for row in rows:
    a, b = (np.asarray(layers[row.leaf][factor], np.float32) for factor in 'ab')
    for i in range(len(a)):
      down = a[i].reshape(-1, rank).T  # [inputs..., R] -> [R, inputs]
      up = b[i].reshape(rank, -1).T  # [R, outputs...] -> [outputs, R]
      module = f'base_model.model.model.layers.{i}.{row.name.removesuffix(".weight")}'
      for name, matrix in (('lora_A', down), ('lora_B', up)):
        matrix = np.ascontiguousarray(matrix)
        table[f'{module}.{name}.weight'] = (matrix.dtype, matrix.shape, lambda x=matrix: x)
  config = {
    'base_model_name_or_path': base,
    'bias': 'none',
    'fan_in_fan_out': False,
    'inference_mode': True,
    'lora_alpha': alpha,
    'lora_dropout': 0.0,
    'peft_type': 'LORA',
    'r': rank,
    'target_modules': [row.name.split('.')[1] for row in rows],
    'task_type': 'CAUSAL_LM',
  }
  path = pathlib.Path(path)
  path.mkdir(parents=True, exist_ok=True)
  tensors.write(path / 'adapter_model.safetensors', table)
  (path / 'adapter_config.json').write_text(json.dumps(config, indent=2) + '\n', encoding='utf-8')
