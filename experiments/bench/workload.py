"""The work that benchmarks measure: sizes of a model and of the batches that it sees.

`--model=NAME` chooses one and any number can be overridden, as in `--workload.group_size=4`.
"""

from __future__ import annotations

from ml_collections import ConfigDict


def shared() -> ConfigDict:
  """The default: a small model on which CPU libraries are compared."""
  config = ConfigDict()
  config.model = ConfigDict()  # as in rljax.models.DecoderConfig
  config.model.vocab_size = 8192
  config.model.dim = 256
  config.model.num_layers = 6
  config.model.num_heads = 8
  config.model.num_kv_heads = 8
  config.model.head_dim = 32
  config.model.ff_dim = 1024
  config.model.rope_theta = 10_000.0
  config.model.norm_eps = 1e-6
  config.model.tied = True
  config.model.dtype = 'float32'

  config.prompts = 8  # P
  config.group_size = 8  # G
  config.prompt_length = 64  # tokens
  config.max_new_tokens = 128  # T
  # Completions have a uniform length from here to max_new_tokens. Where both are equal, there is no
  # end token to be drawn.
  config.min_new_tokens = 128
  config.temperature = 1.0
  config.batch = 0  # prompts of one call of the sampler; 0: all
  config.in_flight = 0  # completions drawn at a time, the next enters as one ends; 0: all
  config.beta = 0.0  # of the KL penalty; with 0 there is no reference model
  config.learning_rate = 1e-5  # AdamW
  config.microbatches = 8  # of our update; peers take theirs in one
  config.bucket = 0  # the update packs completions into slots of a multiple of it; 0: does not

  config.sft_rows = 16
  config.sft_length = 192  # tokens, all of them targets
  config.pairs = 8  # DPO; prompts and completions as above
  config.seed = 0
  return config


def qwen2_5_0_5b() -> ConfigDict:
  """The shape of Qwen2.5-0.5B in bfloat16, for an accelerator."""
  config = shared()
  config.model.vocab_size = 151_936
  config.model.dim = 896
  config.model.num_layers = 24
  config.model.num_heads = 14
  config.model.num_kv_heads = 2
  config.model.head_dim = 64
  config.model.ff_dim = 4864
  config.model.rope_theta = 1_000_000.0
  config.model.dtype = 'bfloat16'
  config.prompts = 16
  config.prompt_length = 256
  config.max_new_tokens = 512
  config.min_new_tokens = 512
  config.microbatches = 8
  return config


def wide() -> ConfigDict:
  """The small model with 262,144 words and 16 rows of 512 tokens: what a vocabulary costs."""
  config = shared()
  config.model.vocab_size = 262_144
  config.prompts = 4
  config.microbatches = 4
  config.group_size = 4
  config.prompt_length = 64
  config.max_new_tokens = 448
  config.min_new_tokens = 448
  return config


def tiny() -> ConfigDict:
  """Nothing but a test that a benchmark runs."""
  config = shared()
  config.model.vocab_size = 64
  config.model.dim = 16
  config.model.num_layers = 2
  config.model.num_heads = 2
  config.model.num_kv_heads = 2
  config.model.head_dim = 8
  config.model.ff_dim = 32
  config.prompts = 2
  config.microbatches = 1
  config.group_size = 2
  config.prompt_length = 4
  config.max_new_tokens = 8
  config.min_new_tokens = 8
  config.sft_rows = 2
  config.sft_length = 12
  config.pairs = 2
  return config


def quickstart() -> ConfigDict:
  """The main job's model and batch, with the sizes of `configs/quickstart.py`."""
  from configs import quickstart as job
  from rljax import data

  config, run = shared(), job.get_config()
  task = data.get_task(run.task, **run.task_kwargs)
  tokenizer = data.CharTokenizer(task.alphabet)
  for name in config.model:
    if name != 'vocab_size':
      config.model[name] = run.model[name]
  config.model.vocab_size = tokenizer.vocab_size
  config.prompts = run.rl.prompts
  config.group_size = run.rl.group_size
  config.prompt_length = tokenizer.max_tokens(task.max_prompt)
  config.max_new_tokens = run.rl.max_new_tokens
  config.min_new_tokens = config.max_new_tokens // 4
  config.learning_rate = run.rl.optimizer.learning_rate
  config.microbatches = run.rl.microbatches
  return config


MODELS = {
  'shared': shared,
  'quickstart': quickstart,
  'qwen2.5-0.5b': qwen2_5_0_5b,
  'wide': wide,
  'tiny': tiny,
}
