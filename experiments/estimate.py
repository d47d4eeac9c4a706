"""What a run will need, from its configuration alone: nothing is compiled."""

from __future__ import annotations

import json
import time
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments import build
from experiments.run_dir import flatten
from rljax import models, training
from rljax.types import Method


def checkpoint_bytes(config: ConfigDict, parts: build.Parts, method: Method | None = None) -> int:
  """Disk space of a run's checkpoints: what is trained and its optimizer's state, one being
  written.

  With `rl.asynchronous` they hold older copies of what is trained, too, and with a method that has
  one the critic.
  """
  kept = config.checkpoint.keep_last + config.checkpoint.keep_best + 1
  size, model = models.count(parts.policy.specs), build.parameter_count(parts.model)
  trained = (1 + config.rl.asynchronous.staleness) * size
  trained += state_size(config.rl.optimizer, parts.policy.specs)
  trained += sum(_critic(config, parts, method))
  model += state_size(config.warm_start.optimizer, parts.model.specs)
  return 4 * (trained * kept + model)


def state_size(config: ConfigDict, specs: Any) -> int:
  """Numbers that the optimizer of a section keeps of parameters with these specs."""
  tx = build.optimizer(config, config.warmup_steps + 1, specs)
  state = jax.eval_shape(lambda: tx.init(models.init(jax.random.key(0), specs)))
  return sum(x.size for x in jax.tree.leaves(state) if x.ndim)


def memory_bytes(
  config: ConfigDict, parts: build.Parts, method: Method | None = None
) -> dict[str, int]:
  """Largest arrays of a run in bytes over all devices: what stays, then each phase's."""
  rl, model = config.rl, parts.decoder
  width = parts.prompt_width + rl.max_new_tokens

  def tokens(prompts):  # every prompt once for its completions
    return prompts * (parts.prompt_width + rl.group_size * rl.max_new_tokens)

  size = 2 if model.dtype in ('bfloat16', 'float16') else 4
  heads = model.num_kv_heads * model.head_dim
  cache = 2 * model.num_layers * tokens(rl.prompts) * heads * size
  # What the backward pass reads of each layer: all of it, its products, or its input.
  products = 2 * model.dim + (model.num_heads * model.head_dim + 2 * heads) + 2 * model.ff_dim
  layer = 6 * model.dim + 3 * model.ff_dim + 2 * model.num_heads * (model.head_dim + width)
  kept = {'none': layer, 'dots': products, 'full': model.dim}[model.remat] * model.num_layers
  kept += 0 if model.remat == 'none' else layer  # the layer at hand
  step = tokens(rl.prompts // rl.minibatches // rl.microbatches)
  stale = config.rl.asynchronous.staleness
  chunk = min(step, training.head.chunk_size(model.vocab_size))
  # What is trained, its gradient and the optimizer's state, all float32, and the reference.
  copies = 1 + (stale + 1 if stale else 0)  # older ones, and the one being drawn from
  size_of_policy, critic = models.count(parts.policy.specs), _critic(config, parts, method)
  trained = copies * size_of_policy + state_size(rl.optimizer, parts.policy.specs) + sum(critic)
  trained += max(size_of_policy, critic[0])  # they are updated in turn
  return {
    'weights, reference, gradients, optimizer': 4 * (trained + build.parameter_count(parts.model)),
    'key-value cache while sampling': cache,
    'activations of a microbatch': step * kept * size,
    'logits of a chunk, with their gradient': 3 * chunk * model.vocab_size * 4,
  }


def _critic(config, parts, method) -> tuple[int, int]:
  """Parameters of the method's value model and numbers of its optimizer's state; zeros if none."""
  if method is None or not method.critic:
    return 0, 0
  specs = models.value_model(parts.model).specs
  return models.count(specs), state_size(config.critic.optimizer, specs)


def step_flops(config: ConfigDict, parts: build.Parts, method: Method) -> dict[str, float]:
  """Floating-point operations of one RL step by phase, if every completion had full length."""
  rl = config.rl
  rows, length, prompt = rl.prompts * rl.group_size, rl.max_new_tokens, parts.prompt_width

  def row(tokens):
    return forward_flops(parts.decoder, tokens)

  # Every prompt is computed once for its completions.
  forward = rl.prompts * row(prompt) + rows * (row(prompt + length) - row(prompt))
  # The reference, and the policy before its updates.
  scored = 1 + bool(build.reads(config, method))
  # Of a value model, which has no unembedding, this is an upper bound.
  valued = 1 if method.critic else 0
  # Backward, activations cost a forward pass, and so do weights; a frozen base has no gradient.
  passes = (2.0 if config.lora.rank else 3.0) + 3.0 * valued
  return {
    'sample': forward,
    'score': (scored + valued) * forward,
    'update': passes * rl.epochs * forward,
  }


def forward_flops(decoder: models.DecoderConfig, tokens: int) -> float:
  """Operations of a forward pass over one row of `tokens` tokens."""
  c = decoder
  projections = c.dim * c.head_dim * 2 * (c.num_heads + c.num_kv_heads) + 3 * c.dim * c.ff_dim
  attention = tokens * c.num_heads * c.head_dim  # two products over half the tokens on average
  return 2.0 * tokens * (c.num_layers * (projections + attention) + c.dim * c.vocab_size)


def host_flops_per_second() -> float:
  """Speed of a float32 matrix product in NumPy, the better of a few."""
  matrix = np.ones((1024, 1024), np.float32)
  times = []
  for _ in range(4):
    start = time.perf_counter()
    matrix @ matrix
    times.append(time.perf_counter() - start)
  return 2 * 1024**3 / min(times)


def describe(config: ConfigDict) -> str:
  """The resolved configuration and what it needs, as text for `--dry_run`."""
  parts = build.check(config)
  method = build.method(config)
  memory, flops = memory_bytes(config, parts, method), step_flops(config, parts, method)
  speed = host_flops_per_second()
  total = sum(flops.values())
  lines = [
    *(f'{key}: {value}' for key, value in flatten(json.loads(config.to_json())).items()),
    '',
    f'parameters        {build.parameter_count(parts.model):,}',
    f'trained by RL     {models.count(parts.policy.specs):,}',
    *(f'{size_text(value):>10}        {name}' for name, value in memory.items()),
    f'{size_text(checkpoint_bytes(config, parts, method)):>10}        checkpoints on disk',
    *(f'{value / 1e9:>7.1f} GF        one RL step: {name}' for name, value in flops.items()),
    f'About {total / speed:.1f} s an RL step at full length if the machine kept up the '
    f'{speed / 1e9:.0f} GFLOP/s that its NumPy reaches; half of that speed is usual on CPU.',
  ]
  return '\n'.join(lines)


def size_text(count: float) -> str:
  """A number of bytes in its largest unit."""
  names = {30: 'GiB', 20: 'MiB', 10: 'KiB', 0: 'B'}
  power = next(power for power in names if count >= 1 << power or not power)
  return f'{count / (1 << power):.1f} {names[power]}'
