"""Model shapes for compiling ahead: `--config=configs/shapes.py:qwen2.5-7b`.

python -m experiments.compile --config=configs/shapes.py:qwen2.5-7b --topology=v5e:16x16

Only sizes: nothing here can be trained, as there is no task. Sizes from the models' published
config.json.
"""

import difflib

from ml_collections import ConfigDict

from configs import base

_QWEN25 = {
  'rope_theta': 1e6,
  'norm_eps': 1e-6,
  'qkv_bias': True,
}

# vocab_size, then what `config.model` holds.
SHAPES = {
  'qwen2.5-0.5b': (
    151936,
    {
      'dim': 896,
      'num_layers': 24,
      'num_heads': 14,
      'num_kv_heads': 2,
      'head_dim': 64,
      'ff_dim': 4864,
      'tied': True,
    }
    | _QWEN25,
  ),
  'qwen2.5-1.5b': (
    151936,
    {
      'dim': 1536,
      'num_layers': 28,
      'num_heads': 12,
      'num_kv_heads': 2,
      'head_dim': 128,
      'ff_dim': 8960,
      'tied': True,
    }
    | _QWEN25,
  ),
  'qwen2.5-7b': (
    152064,
    {
      'dim': 3584,
      'num_layers': 28,
      'num_heads': 28,
      'num_kv_heads': 4,
      'head_dim': 128,
      'ff_dim': 18944,
      'tied': False,
    }
    | _QWEN25,
  ),
}


def get_config(name='qwen2.5-0.5b'):
  if name not in SHAPES:
    near = difflib.get_close_matches(name, SHAPES, 1)
    hint = f'Did you mean {near[0]!r}? ' if near else ''
    raise ValueError(f'There is no shape {name!r}. {hint}Shapes: {", ".join(SHAPES)}.')
  vocab_size, model = SHAPES[name]
  config = base.get_config()
  for key in ('task', 'task_kwargs', 'warm_start', 'eval', 'tiny'):
    del config[key]
  # The parameters' type is that of the optimizer's moments, too.
  config.model.update(model, dtype='bfloat16', param_dtype='bfloat16', remat='full')
  config.shape = ConfigDict()
  config.shape.vocab_size = vocab_size
  config.shape.prompt_width = 512  # Tp
  config.rl.prompts = 256
  config.rl.group_size = 8
  config.rl.max_new_tokens = 1024
  config.mesh.fsdp = -1  # what the other axes leave
  return config
