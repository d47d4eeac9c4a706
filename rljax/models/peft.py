"""Adapters as the directories that the library PEFT reads: `adapter_config.json` and
`adapter_model.safetensors`.

Names are those of the Llama family in transformers (Llama, Qwen, Mistral, Gemma), whose query, key,
value, gate and up projections are modules of their own, as they are in an adapter.
"""

from __future__ import annotations

import json
import pathlib
from typing import Any

import jax
import numpy as np

# Modules of one layer by the name of a projection, in the order of its parts.
_MODULES = {
  'query': ('self_attn.q_proj',),
  'key_value': ('self_attn.k_proj', 'self_attn.v_proj'),
  'attention_out': ('self_attn.o_proj',),
  'gate_up': ('mlp.gate_proj', 'mlp.up_proj'),
  'down': ('mlp.down_proj',),
}


def save_adapter(path: str | pathlib.Path, adapter: Any, *, alpha: float, base: str = '') -> None:
  """Writes a LoRA directory for `peft.PeftModel.from_pretrained(base_model, path)`, in float32.

  Args:
    path: the directory; created if missing, its two files are replaced.
    adapter: as for `lora.join`.
    alpha: as for `lora.join`.
    base: name or path of the base model, for those who load the adapter without naming one.

  Needs safetensors.
  """
  from safetensors.numpy import save_file

  tensors, ranks, modules = {}, set(), []
  for name, factors in jax.device_get(adapter['layers']).items():
    a, b = (np.asarray(factors[key], np.float32) for key in ('a', 'b'))
    rank, parts = a.shape[-1], _MODULES[name]
    ranks.add(rank)
    modules += [module.split('.')[1] for module in parts]
    fused = len(parts) > 1
    for part, module in enumerate(parts):
      for layer in range(len(a)):
        down = a[layer][:, part] if fused else a[layer]
        up = b[layer][part] if fused else b[layer]
        prefix = f'base_model.model.model.layers.{layer}.{module}'
        # [inputs..., R] -> [R, inputs] and [R, outputs...] -> [outputs, R]
        tensors[f'{prefix}.lora_A.weight'] = np.ascontiguousarray(down.reshape(-1, rank).T)
        tensors[f'{prefix}.lora_B.weight'] = np.ascontiguousarray(up.reshape(rank, -1).T)
  if len(ranks) != 1:
    raise ValueError(f'An adapter has one rank; this one has {sorted(ranks)}.')
  path = pathlib.Path(path)
  path.mkdir(parents=True, exist_ok=True)
  save_file(tensors, path / 'adapter_model.safetensors', metadata={'format': 'pt'})
  config = {
    'base_model_name_or_path': base,
    'bias': 'none',
    'fan_in_fan_out': False,
    'inference_mode': True,
    'lora_alpha': alpha,
    'lora_dropout': 0.0,
    'peft_type': 'LORA',
    'r': ranks.pop(),
    'target_modules': modules,
    'task_type': 'CAUSAL_LM',
  }
  (path / 'adapter_config.json').write_text(json.dumps(config, indent=2) + '\n', encoding='utf-8')
