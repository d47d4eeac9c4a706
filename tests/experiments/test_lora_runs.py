"""Whole runs that train an adapter: what is kept, and that every command finds the base again."""

import jax
import numpy as np
import pytest
from stops import train_in_two_parts

from configs import lora as lora_config
from experiments import build, cli
from experiments.errors import UserError
from experiments.evaluate import evaluate
from experiments.logs import read_metrics
from experiments.policy import load_params
from experiments.train import train
from rljax.checkpoints import restore_params
from rljax.models import lora


def tiny():
  config = cli.settle(lora_config.get_config(), tiny=True)
  # A gradient, though so small a model earns no reward; and the first checkpoint is kept.
  return changed(config, entropy_coef=0.1, checkpoint__keep_last=3)


def changed(config, **changes):
  config = config.copy_and_resolve_references()
  with config.unlocked():
    config.update_from_flattened_dict({k.replace('__', '.'): v for k, v in changes.items()})
  return config


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  """A tiny run with an adapter: its directory, configuration and summary."""
  workdir = tmp_path_factory.mktemp('runs') / 'undisturbed'
  config = tiny()
  return workdir, config, train(config, workdir)


def names(path):
  tree = restore_params(path)
  return {
    '/'.join(key.key for key in path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)
  }


@pytest.mark.nightly
@pytest.mark.slow
def test_checkpoints_hold_the_adapter_and_the_warm_start_the_base(finished):
  workdir, config, _ = finished
  parts = build.check(config)
  assert names(workdir / 'checkpoints') == {
    f'layers/{name}/{factor}'
    for name in parts.model.specs['layers']
    if 'norm' not in name
    for factor in 'ab'
  }
  assert 'embedding' in names(workdir / 'warm_start')
  sizes = [
    sum(file.stat().st_size for file in folder.rglob('*') if file.is_file())
    for folder in (workdir / 'checkpoints' / '4', workdir / 'warm_start' / '60')
  ]
  assert sizes[0] < sizes[1]


def test_the_run_learns_in_the_adapter_alone(finished):
  workdir, _, _ = finished
  records = read_metrics(workdir)['rl']
  assert all(r['mismatch'] < 1e-4 and r['nonfinite_grads'] == 0 for r in records)
  assert records[0]['kl_ref'] < 1e-9 < records[-1]['kl_ref']
  first, last = restore_params(workdir / 'checkpoints/0'), restore_params(workdir / 'checkpoints/4')
  moved = jax.tree.map(lambda x, y: float(np.abs(x - y).max()), first, last)
  assert min(jax.tree.leaves(moved)) > 0
  assert all(not np.any(leaf['b']) for leaf in first['layers'].values())


@pytest.mark.nightly
@pytest.mark.slow
def test_interrupted_it_ends_like_the_undisturbed_run(finished, tmp_path):
  workdir, config, _ = finished
  train_in_two_parts(config, tmp_path / 'run', after=3)
  for name in ('checkpoints', 'warm_start'):
    a, b = restore_params(workdir / name), restore_params(tmp_path / 'run' / name)
    jax.tree.map(np.testing.assert_array_equal, a, b)
  assert (tmp_path / 'run/samples.jsonl').read_bytes() == (workdir / 'samples.jsonl').read_bytes()


@pytest.mark.nightly
@pytest.mark.slow
def test_evaluate_repeats_the_runs_own_evaluations(finished):
  workdir, config, summary = finished
  assert evaluate(config, workdir) == summary['after']
  assert evaluate(config, workdir / 'warm_start') == summary['before']
  plain = changed(config, lora__rank=0)  # the run knows its adapter
  assert evaluate(plain, workdir / 'checkpoints' / '4') == summary['after']


def test_init_from_an_adapter_starts_from_the_merged_parameters(finished, tmp_path):
  workdir, config, _ = finished
  again = changed(config, init=str(workdir), lora__rank=0, rl__steps=1)
  train(again, tmp_path / 'run')
  like = build.initial_params(build.check(config), 0)
  expected = lora.merge(load_params(workdir, like))
  found = restore_params(tmp_path / 'run/warm_start')
  jax.tree.map(np.testing.assert_array_equal, found, expected)
  base = restore_params(workdir / 'warm_start')
  assert np.abs(found['layers']['query'] - base['layers']['query']).max() > 1e-5
  np.testing.assert_array_equal(found['embedding'], base['embedding'])


@pytest.mark.nightly
@pytest.mark.slow
def test_a_mesh_runs_with_an_adapter(finished, tmp_path):
  workdir, config, _ = finished
  config = changed(
    config, mesh__data=2, mesh__tensor=2, rl__steps=2, init=str(workdir / 'warm_start')
  )
  train(config, tmp_path / 'run')
  found, expected = (read_metrics(run)['rl'][0] for run in (tmp_path / 'run', workdir))
  for name in ('reward', 'entropy', 'grad_norm'):
    assert found[name] == pytest.approx(expected[name], rel=1e-3), name


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'lora__rank': -1}, 'lora.rank is -1'),
    ({'lora__targets': ('layers/qeury',)}, "Did you mean 'layers/query'"),
  ],
)
def test_mistakes_are_found_before_any_compute(changes, message):
  with pytest.raises(UserError, match=message):
    build.check(changed(tiny(), **changes))
