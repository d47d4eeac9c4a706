"""Compiles a run's programs for a TPU slice that is not there: `python -m experiments.compile`.

    python -m experiments.compile --config=configs/shapes.py:qwen2.5-7b --topology=v5e:16x16
    python -m experiments.compile --config=configs/quickstart.py --topology=v5e:2x2 --json

Lowers the sampler and the train step on abstract parameters, compiles them with the TPU's own
compiler and prints what one device holds, computes and sends; a critic's own program is not among
them. Needs libtpu (the extra `tpu-aot`) and no TPU; no array is made.
"""

from __future__ import annotations

import json
import math
import resource
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from absl import flags
from jax.sharding import Mesh
from ml_collections import ConfigDict
from rich.table import Table

from experiments import build, cli, display, hlo, topology
from experiments.errors import UserError
from experiments.estimate import forward_flops, size_text
from rljax import data, models, sampling, training
from rljax.types import Batch

# The end token of the sampler; any will do where nothing is run.
_EOS = 0


class Plan(NamedTuple):
  """What is compiled for.

  Attributes:
    config: as for a run; `shape` takes the place of a task.
    topology: the slice.
    mesh: over its devices.
    model: the policy's functions on that mesh.
    decoder: its sizes.
    prompt_width: Tp.
    params: abstract parameters on their shards.
  """

  config: ConfigDict
  topology: topology.Topology
  mesh: Mesh
  model: models.Model
  decoder: models.DecoderConfig
  prompt_width: int
  params: Any


def make_plan(config: ConfigDict, slice_name: str) -> Plan:
  """What to compile; raises UserError for a slice, mesh or size that will not do."""
  where = topology.describe(slice_name)
  try:
    if 'shape' in config:
      vocab_size, width = config.shape.vocab_size, config.shape.prompt_width
    else:
      task = build.make_task(config)
      vocab_size, width = data.CharTokenizer(task.alphabet).vocab_size, task.max_prompt
    mesh = training.sharding.make_mesh(**config.mesh, devices=where.devices)
    decoder = build.decoder_config(config, vocab_size)
    model = build.make_model(config, decoder, mesh)
    shardings = training.sharding.params(model.specs, mesh)
  except (TypeError, ValueError) as error:
    raise UserError(f'{slice_name}: {error}') from error
  build.check_prompts(config, mesh)
  params = jax.tree.map(
    lambda spec, sharding: jax.ShapeDtypeStruct(
      spec.shape, jnp.dtype(config.model.param_dtype), sharding=sharding
    ),
    model.specs,
    shardings,
    is_leaf=lambda x: isinstance(x, models.Spec),
  )
  return Plan(config, where, mesh, model, decoder, width, params)


def sampler(plan: Plan) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
  """The jitted sampler of a plan, its abstract arguments, and what of them to account for."""
  rl, sharding = plan.config.rl, training.sharding
  rows = sharding.rows(plan.mesh)

  def draw(params, prompt, key, ids):
    return sampling.sample(
      plan.model,
      params,
      prompt,
      key,
      group_size=rl.group_size,
      max_new_tokens=rl.max_new_tokens,
      eos=_EOS,
      warp=build.warp(rl),
      in_flight=rl.in_flight or None,
      ids=ids,
    )

  key = jax.eval_shape(lambda: jax.random.key(0))
  arguments = (
    plan.params,
    jax.ShapeDtypeStruct((rl.prompts, plan.prompt_width), jnp.int32, sharding=rows),
    jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=sharding.replicated(plan.mesh)),
    jax.ShapeDtypeStruct((rl.prompts,), jnp.int32, sharding=rows),
  )
  shards = sharding.row_shards(plan.mesh)
  slots = plan.prompt_width + rl.max_new_tokens - 1
  cache = jax.eval_shape(lambda: plan.model.init_cache(rl.prompts * rl.group_size // shards, slots))
  # Heads go over `tensor` like those of the weights that make them.
  split = plan.mesh.shape[sharding.RULES['kv_heads']]
  size = sum(
    x.size * x.dtype.itemsize // (split if x.ndim > 2 else 1) for x in jax.tree.leaves(cache)
  )
  return jax.jit(draw, out_shardings=rows), arguments, {'cache': size}


def train_step(plan: Plan) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
  """The jitted train step of a plan, its abstract arguments, and what of them to account for."""
  config, rl, sharding = plan.config, plan.config.rl, training.sharding
  method = build.method(config)
  updates = rl.steps * rl.epochs * rl.minibatches
  tx = build.optimizer(rl.optimizer, updates, plan.model.specs)
  score = training.make_score(
    plan.model,
    temperature=rl.temperature,
    statistics=method.statistics,
    features=method.features,
  )
  shapes = jax.eval_shape(lambda params: training.init_state(params, tx, method), plan.params)
  where = sharding.like_params(
    shapes, plan.params, sharding.params(plan.model.specs, plan.mesh), plan.mesh
  )
  state = jax.tree.map(_abstract, shapes, where)
  rows = (rl.prompts // rl.minibatches, rl.group_size)

  def batch(params):
    tokens = jnp.zeros((*rows, rl.max_new_tokens), jnp.int32)
    numbers, logp = jnp.zeros(rows), jnp.zeros(tokens.shape)
    made = Batch(
      prompt=jnp.zeros((rows[0], 1, plan.prompt_width), jnp.int32),
      completion=tokens,
      mask=logp,
      rewards=numbers,
      truncated=numbers,
      behavior_logp=logp,
      ref_logp=logp,
      extras={'correct': numbers} | ({'old_values': logp} if method.critic else {}),
    )
    reads = build.reads(config, method)
    if reads:
      made = training.fill_reads(reads, score(params, made), made)
    return method.prepare(method.init(), made)[1]

  made = jax.eval_shape(batch, plan.params)
  constants = jax.tree.map(lambda x: _abstract(x, sharding.replicated(plan.mesh)), made.constants)
  made = jax.tree.map(
    lambda x: _abstract(x, sharding.rows(plan.mesh)), made.replace(constants={})
  ).replace(constants=constants)
  step = training.make_train_step(score, method, tx, rl.microbatches)
  jitted = jax.jit(step, donate_argnums=0, out_shardings=(where, None))
  moments = [x for x in jax.tree.leaves(state.opt_state) if x.ndim]
  kinds = ', '.join(sorted({str(x.dtype) for x in moments}))
  return jitted, (state, made), {'optimizer': shard_bytes(moments), 'optimizer_dtype': kinds}


def report(plan: Plan, jitted, arguments, accounted) -> dict[str, Any]:
  """Compiles one program and says what one device needs for it.

  Bytes: `weights`, `optimizer` or `cache`, `temporaries` (the cache is in them), `total`, `hbm`.
  `fits` is the compiler's own verdict; where it is false, `refused` has its words and the numbers
  of the compiled program are missing. `flops` is the compiler's count, each loop's body once.
  """
  start, cpu = time.perf_counter(), time.process_time()
  lowered = jitted.trace(*arguments).lower(lowering_platforms=('tpu',))
  found = {'weights': shard_bytes(plan.params), **accounted, 'hbm': plan.topology.hbm}
  try:
    compiled = lowered.compile()
  except jax.errors.JaxRuntimeError as error:
    if 'RESOURCE_EXHAUSTED' not in str(error):
      raise
    found |= {
      'fits': False,
      'refused': str(error).partition('RESOURCE_EXHAUSTED: ')[2].split('\n')[0],
    }
  else:
    memory, costs = compiled.memory_analysis(), compiled.cost_analysis()
    total = (
      memory.argument_size_in_bytes
      + memory.output_size_in_bytes
      - memory.alias_size_in_bytes
      + memory.temp_size_in_bytes
      + memory.generated_code_size_in_bytes
    )
    found |= {
      'temporaries': memory.temp_size_in_bytes,
      'program': memory.generated_code_size_in_bytes,
      'total': total,
      'fits': total <= plan.topology.hbm,
      'flops': costs['flops'],
      'collectives': {
        kind: each._asdict() for kind, each in hlo.collectives(compiled.as_text()).items()
      },
    }
  return found | {
    'compile_seconds': round(time.perf_counter() - start, 1),
    'compile_cpu_seconds': round(time.process_time() - cpu, 1),
  }


def shard_bytes(tree: Any) -> int:
  """Bytes that one device holds of abstract arrays."""
  return sum(
    math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(tree)
  )


def model_flops(plan: Plan) -> dict[str, float]:
  """Operations that one device must do at full length, by program: what a perfect program would."""
  rl, devices = plan.config.rl, plan.mesh.size
  rows, length = rl.prompts * rl.group_size, plan.prompt_width + rl.max_new_tokens

  def row(tokens):
    return forward_flops(plan.decoder, tokens)

  drawn = rl.prompts * row(plan.prompt_width) + rows * (row(length) - row(plan.prompt_width))
  return {
    'sampler': drawn / devices,
    'train step': 3 * rows // rl.minibatches * row(length) / devices,
  }


def compile_all(config: ConfigDict, slice_name: str) -> dict[str, Any]:
  """The report of every program of a configuration on a slice."""
  # The host's backend for the rest; a program for another machine is not worth a file.
  jax.config.update('jax_platforms', 'cpu')
  jax.config.update('jax_enable_compilation_cache', False)
  plan = make_plan(config, slice_name)
  ideal = model_flops(plan)
  programs = {}
  for name, make in {'sampler': sampler, 'train step': train_step}.items():
    programs[name] = report(plan, *make(plan)) | {'model_flops': ideal[name]}
  return {
    'topology': slice_name,
    'device': plan.topology.devices[0].device_kind,
    'devices': plan.mesh.size,
    'mesh': dict(plan.mesh.shape),
    'parameters': models.count(plan.model.specs),
    'params_dtype': str(jax.tree.leaves(plan.params)[0].dtype),
    'dtype': config.model.dtype,
    'rows': config.rl.prompts * config.rl.group_size,
    'prompts': config.rl.prompts,
    'tokens': [plan.prompt_width, config.rl.max_new_tokens],
    'microbatches': config.rl.microbatches,
    'remat': config.model.remat,
    'programs': programs,
    'host_memory': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    'jax': jax.__version__,
  }


def table(found: dict[str, Any]) -> Table:
  """The report as a table: one column a program."""
  programs = found['programs']
  mesh = ' x '.join(f'{axis} {size}' for axis, size in found['mesh'].items())
  prompt, completion = found['tokens']
  shown = Table(
    title=f'{found["devices"]} x {found["device"]} ({found["topology"]}), mesh {mesh}\n'
    f'{found["parameters"]:,} parameters in {found["params_dtype"]}, '
    f'computing in {found["dtype"]}\n{found["rows"]} rows of {prompt} + {completion} tokens',
    title_justify='left',
    caption=f'Bytes and FLOPs of one device. Host memory {size_text(found["host_memory"])}.',
    caption_justify='left',
  )
  shown.add_column('')
  for name in programs:
    shown.add_column(name, justify='right')

  def row(label, cell):
    cells = [cell(program) for program in programs.values()]
    if any(cells):
      shown.add_row(label, *(each or '-' for each in cells))

  def amount(key):
    return lambda program: size_text(program[key]) if program.get(key) else ''

  row('weights', amount('weights'))
  kind = programs['train step']['optimizer_dtype']
  row(f'optimizer ({kind})', amount('optimizer'))
  row('key-value cache', amount('cache'))
  row('temporaries, the cache among them', amount('temporaries'))
  row('total, with the program', amount('total'))
  row('memory of the device', amount('hbm'))
  row('fits', lambda program: 'yes' if program['fits'] else 'NO')
  row('model TFLOPs at full length', lambda program: f'{program["model_flops"] / 1e12:,.1f}')
  row(
    'compiled TFLOPs, loops once',
    lambda program: f'{program["flops"] / 1e12:,.1f}' if 'flops' in program else '',
  )
  for kind in hlo.KINDS:
    row(kind, lambda program, kind=kind: _collective(program.get('collectives', {}).get(kind)))
  row(
    'seconds to compile, of CPU',
    lambda p: f'{p["compile_seconds"]:.0f}, {p["compile_cpu_seconds"]:.0f}',
  )
  return shown


def _collective(each) -> str:
  return f'{each["times"]:,} x, {size_text(each["bytes"])}' if each else ''


def _abstract(x, sharding):
  return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)


def main() -> int:
  """Compiles what the flags say; status 1 if something does not fit."""
  if not flags.FLAGS.topology:
    raise UserError(f'--topology is missing. Topologies: {", ".join(topology.names())}.')
  found = compile_all(cli.resolve_config(), flags.FLAGS.topology)
  if flags.FLAGS.json:
    print(json.dumps(found))
  else:
    display.show(table(found))
    for name, program in found['programs'].items():
      if not program['fits']:
        display.show(f'The {name} does not fit. {program.get("refused", "")}')
  return 0 if all(program['fits'] for program in found['programs'].values()) else 1


def run() -> None:
  """Command-line entry point."""
  flags.DEFINE_string('topology', '', 'The slice, as in v5e:4x8.')
  flags.DEFINE_bool('json', False, 'Print one line of JSON instead of a table.')
  cli.define_flags(writes=False)
  cli.main(main)


if __name__ == '__main__':
  run()
