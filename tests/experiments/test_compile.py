"""Compiling for TPUs that are not there; the compiler itself only where libtpu is installed."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from configs import quickstart, shapes
from experiments import cli, topology
from experiments import compile as ahead
from experiments.errors import UserError

REPOSITORY = pathlib.Path(__file__).parents[2]


def tiny(**changes):
  config = cli.settle(quickstart.get_config(), tiny=True)
  with config.unlocked():
    config.update_from_flattened_dict(changes)
  return config


@pytest.fixture
def libtpu():
  return pytest.importorskip('libtpu')


def test_without_libtpu_the_extra_is_named(monkeypatch):
  monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
  with pytest.raises(UserError, match='tpu-aot'):
    ahead.make_plan(tiny(), 'v5e:2x2')


@pytest.mark.parametrize('name', shapes.SHAPES)
def test_shapes_have_the_parameters_of_their_models(name):
  from rljax import models

  vocab_size, sizes = shapes.SHAPES[name]
  count = models.count(models.decoder(models.DecoderConfig(vocab_size=vocab_size, **sizes)).specs)
  published = {
    'qwen2.5-0.5b': 494_032_768,
    'qwen2.5-1.5b': 1_543_714_304,
    'qwen2.5-7b': 7_615_616_512,
  }
  assert count == published[name]


def test_unknown_shapes_and_topologies_list_the_known_ones(libtpu):
  with pytest.raises(ValueError, match=r'Did you mean .qwen2\.5-7b'):
    shapes.get_config('qwen2.5-7')
  for name, hint in {'v5e:4x9': 'v5e:4x8', 'v5litepod:4x8': 'v5e:4x8', 'v5e': 'v5p:4x4x4'}.items():
    with pytest.raises(UserError, match=hint):
      topology.describe(name)


def test_every_listed_topology_is_one_and_has_its_memory(libtpu):
  found = {name: topology.describe(name) for name in topology.names()}
  assert len(found['v5e:4x8'].devices) == 32 and found['v5e:4x8'].hbm == 16 << 30
  # Two cores a chip, each with half of its memory.
  assert len(found['tpu7x:2x2x1'].devices) == 8 and found['tpu7x:2x2x1'].hbm == 96 << 30


def test_a_mesh_or_batch_that_does_not_divide_says_so(libtpu):
  with pytest.raises(UserError, match=r'needs 2 devices but there are 4'):
    ahead.make_plan(tiny(**{'mesh.fsdp': 2}), 'v5e:2x2')
  with pytest.raises(UserError, match='nearest size that does is 8'):
    ahead.make_plan(tiny(**{'mesh.fsdp': 4, 'rl.microbatches': 2, 'rl.prompts': 9}), 'v5e:2x2')


@pytest.mark.slow
def test_a_tiny_run_compiles_for_a_small_slice(libtpu, tmp_path):
  command = [sys.executable, '-m', 'experiments.compile', '--config=configs/quickstart.py']
  command += ['--tiny', '--topology=v5e:2x2', '--config.mesh.fsdp=-1', '--json']
  env = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}
  done = subprocess.run(
    command, cwd=REPOSITORY, env=env, capture_output=True, text=True, timeout=500
  )
  assert done.returncode == 0, done.stderr
  found = json.loads(done.stdout)
  assert found['mesh'] == {'data': 1, 'fsdp': 4, 'tensor': 1}
  sampler, step = found['programs']['sampler'], found['programs']['train step']
  # A quarter of the parameters in float32, and two moments; norms are whole on every device.
  assert found['parameters'] < sampler['weights'] < 1.2 * found['parameters']
  assert step['weights'] == sampler['weights'] and step['optimizer'] == 2 * step['weights']
  assert step['optimizer_dtype'] == 'float32'
  config = tiny()
  rows = config.rl.prompts * config.rl.group_size // 4
  slots = 8 + config.rl.max_new_tokens - 1
  heads = config.model.num_kv_heads * config.model.head_dim
  assert sampler['cache'] == pytest.approx(rows * slots * (2 * heads + 1) * 4, rel=0.01)
  assert step['temporaries'] > 0 and step['flops'] > 0 and step['model_flops'] > 0
  assert {'all-gather', 'all-reduce'} <= step['collectives'].keys()
  assert step['collectives']['all-gather']['bytes'] > 3 * step['weights']


@pytest.mark.slow
def test_what_does_not_fit_is_told_from_the_compilers_words(libtpu):
  found = ahead.compile_all(
    tiny(**{'mesh.fsdp': 4, 'rl.max_new_tokens': 4096, 'rl.group_size': 64}), 'v5e:2x2'
  )
  step = found['programs']['train step']
  assert not step['fits'] and 'exceeds available HBM' in step['refused']
  assert step['weights'] and 'flops' not in step
