"""Whole runs in small: what they leave behind, and that interrupted ones end like others."""

import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from configs import base, method, quickstart, random_calculation
from experiments import cli
from experiments.errors import Interrupted, UserError
from experiments.logs import read_metrics
from experiments.train import train
from rljax.checkpoints import restore_params

REPOSITORY = pathlib.Path(__file__).parents[2]


def tiny(config):
  return cli.settle(config, tiny=True)


def same_params(first, second):
  a, b = restore_params(first), restore_params(second)
  assert jax.tree.structure(a) == jax.tree.structure(b)
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


def stable(records):
  """Records without what the clock says."""
  return [
    {k: v for k, v in r.items() if not k.startswith('seconds/') and k != 'tokens/s'}
    for r in records
  ]


def each_step_once(workdir, config):
  records = read_metrics(workdir)
  assert [r['step'] for r in records['warm_start']] == list(range(1, config.warm_start.steps + 1))
  assert [r['step'] for r in records['rl']] == list(range(1, config.rl.steps + 1))
  evaluated = [s for s in range(config.rl.steps) if s % config.eval.every == 0] + [config.rl.steps]
  assert [r['step'] for r in records['eval']] == evaluated
  return records


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  """A tiny quickstart run: its directory, configuration and summary."""
  workdir = tmp_path_factory.mktemp('runs') / 'undisturbed'
  config = tiny(quickstart.get_config())
  return workdir, config, train(config, workdir)


def test_a_run_leaves_everything_behind(finished):
  workdir, config, summary = finished
  for name in ('config.json', 'metrics.jsonl', 'samples.jsonl', 'summary.json'):
    assert (workdir / name).stat().st_size > 0
  for name in ('checkpoints', 'warm_start', 'tensorboard/rl', 'tensorboard/warm_start'):
    assert any((workdir / name).iterdir())
  plots = {path.stem for path in (workdir / 'plots').glob('*.png')}
  assert {'reward', 'accuracy', 'length', 'entropy', 'kl', 'grad_norm', 'timing'} <= plots
  records = each_step_once(workdir, config)
  for name in ('reward', 'accuracy', 'length', 'entropy', 'kl_ref', 'grad_norm', 'tokens/s'):
    assert all(np.isfinite(r[name]) for r in records['rl']), name
  assert all(r['verifier_failed'] == 0 and r['nonfinite_grads'] == 0 for r in records['rl'])
  assert all(r['mismatch'] < 1e-4 for r in records['rl'])
  assert summary['steps'] == {'warm_start': config.warm_start.steps, 'rl': config.rl.steps}
  assert summary == json.loads((workdir / 'summary.json').read_text())
  assert {'greedy_accuracy', 'pass@1'} <= summary['before'].keys() & summary['after'].keys()
  assert len(summary['samples']) == 5


def test_samples_hold_completions_with_rewards_and_advantages(finished):
  workdir, config, _ = finished
  records = [json.loads(line) for line in (workdir / 'samples.jsonl').open()]
  assert len(records) == config.rl.steps * config.log.sample_prompts
  for record in records:
    a, b = record['prompt'].rstrip('=').split('+')
    assert record['answer'] == str(int(a) + int(b))
    for name in ('completions', 'rewards', 'advantages'):
      assert len(record[name]) == config.rl.group_size


def test_a_finished_run_is_shown_and_not_run_again(finished):
  workdir, config, summary = finished
  before = {path: path.stat().st_mtime_ns for path in (workdir / 'checkpoints').iterdir()}
  assert train(config, workdir) == summary
  assert before == {path: path.stat().st_mtime_ns for path in (workdir / 'checkpoints').iterdir()}


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize('phase, step', [('warm_start', 37), ('rl', 3)])
def test_interrupted_anywhere_ends_like_the_undisturbed_run(
  finished, tmp_path, monkeypatch, phase, step
):
  workdir, config, _ = finished
  from experiments.journal import Journal

  log = Journal.step
  stop = {'now': False}

  def logged(self, name, number, *args):
    stop['now'] |= (name, number) == (phase, step)
    return log(self, name, number, *args)

  monkeypatch.setattr(Journal, 'step', logged)
  monkeypatch.setattr(Journal, 'interrupted', lambda self: stop['now'])
  monkeypatch.setattr('experiments.cli.Interrupts.exit_status', 143)
  with pytest.raises(Interrupted, match='the same command continues'):
    train(config, tmp_path / 'run')
  monkeypatch.undo()
  train(config, tmp_path / 'run', resume='must')
  same_params(workdir, tmp_path / 'run')
  again, once = each_step_once(tmp_path / 'run', config), each_step_once(workdir, config)
  for name in once:
    assert stable(again[name]) == stable(once[name])
  assert (tmp_path / 'run/samples.jsonl').read_bytes() == (workdir / 'samples.jsonl').read_bytes()


def test_a_damaged_newest_checkpoint_costs_the_steps_since_the_one_before(
  finished, tmp_path, caplog
):
  workdir, config, _ = finished
  shutil.copytree(workdir, tmp_path / 'run')
  (tmp_path / 'run/summary.json').unlink()
  newest = tmp_path / 'run/checkpoints' / str(config.rl.steps)
  for file in (newest / 'state').glob('ocdbt.process_0/d/*'):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
  train(config, tmp_path / 'run')
  assert f'{newest} is damaged' in caplog.text
  assert newest.with_name(f'{newest.name}.damaged').is_dir()
  same_params(workdir, tmp_path / 'run')
  each_step_once(tmp_path / 'run', config)


def test_two_steps_of_a_run_draw_different_noise(finished):
  """The rows of one step are not those of another: same prompts, other key, other completions."""
  workdir, _, _ = finished
  completions = [
    tuple(json.loads(line)['completions']) for line in (workdir / 'samples.jsonl').open()
  ]
  assert len(set(completions)) == len(completions)


def test_init_starts_from_another_run_and_copies_it(finished, tmp_path):
  workdir, config, _ = finished
  config = config.copy_and_resolve_references()
  with config.unlocked():
    config.init = str(workdir / 'warm_start')
    config.rl.steps = 1
  summary = train(config, tmp_path / 'run')
  same_params(workdir / 'warm_start', tmp_path / 'run/warm_start')
  assert 'warm_start' not in read_metrics(tmp_path / 'run')
  assert summary['steps'] == {'warm_start': 0, 'rl': 1}


@pytest.mark.slow
@pytest.mark.parametrize(
  'make',
  [
    random_calculation.get_config,
    lambda: method.get_config('dapo'),
    pytest.param(lambda: method.get_config('reinforce'), marks=pytest.mark.nightly),
    pytest.param(lambda: method.get_config('ppo'), marks=pytest.mark.nightly),
  ],
)
def test_every_configuration_runs_tiny(make, tmp_path):
  config = tiny(make())
  summary = train(config, tmp_path / 'run')
  assert summary['method'] == config.method
  each_step_once(tmp_path / 'run', config)


@pytest.mark.nightly
@pytest.mark.slow
def test_several_updates_a_batch_with_kl_and_entropy_terms(tmp_path):
  config = tiny(quickstart.get_config())
  with config.unlocked():
    config.rl.update({'epochs': 2, 'minibatches': 2, 'microbatches': 2, 'steps': 2})
    config.kl_coef, config.entropy_coef = 0.01, 0.001
  train(config, tmp_path / 'run')
  records = read_metrics(tmp_path / 'run')['rl']
  assert all(r['kl_old'] > 0 for r in records)
  assert all(np.isfinite(r['loss/kl']) and np.isfinite(r['loss/entropy']) for r in records)


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'rl.prompts': 7, 'rl.microbatches': 2}, 'nearest size that does is'),
    ({'rl.max_new_tokens': 10}, 'less than a worked solution'),
    ({'warm_start.width': 20}, 'warm_start.width'),
    ({'method': 'grppo'}, "Did you mean 'grpo'"),
    ({'rl.optimizer.name': 'moun'}, "no optimizer 'moun'. Did you mean 'muon'"),
    ({'warm_start.optimizer.name': 'adamx'}, "Did you mean 'adamw'"),
    ({'task': 'colum_addition'}, "Did you mean 'column_addition'"),
    ({'rl.temperature': 0.0}, 'must be positive'),
    ({'mesh.tensor': 3}, 'needs 3 devices'),
    ({'model.num_kv_heads': 3}, 'must be a multiple'),
    ({'method': 'rloo', 'rl.epochs': 2}, 'one update a batch'),
    ({'rl.steps': -1}, 'must be at least 0'),
    ({'rl.bucket': -8}, 'rl.bucket is -8'),
    ({'init': '/nowhere'}, 'No checkpoint at'),
    ({'task_kwargs.min_digits': 1, 'task_kwargs.max_digits': 1}, 'ask for fewer'),
  ],
)
def test_mistakes_are_found_before_any_compute(tmp_path, changes, message):
  config = tiny(quickstart.get_config())
  with config.unlocked():
    config.update_from_flattened_dict(changes)
    if config.method == 'rloo':
      config.method_kwargs = {}
  with pytest.raises((UserError, FileNotFoundError), match=message):
    train(config, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_another_configuration_in_the_workdir_is_refused(finished):
  workdir, config, _ = finished
  config = config.copy_and_resolve_references()
  with config.unlocked():
    config.seed = 5
  with pytest.raises(UserError, match='seed: 0 there, 5 now'):
    train(config, workdir)


def _start(workdir, env):
  command = [sys.executable, '-m', 'experiments.train', '--config=configs/quickstart.py', '--tiny']
  return subprocess.Popen(
    [*command, f'--workdir={workdir}'],
    cwd=REPOSITORY,
    env=env,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    text=True,
  )


@pytest.mark.nightly
@pytest.mark.slow
def test_killed_five_times_ends_like_the_undisturbed_run(tmp_path):
  env = {**os.environ, 'JAX_PLATFORMS': 'cpu'}
  undisturbed = _start(tmp_path / 'undisturbed', env)
  start = time.monotonic()
  _, errors = undisturbed.communicate(timeout=300)
  assert undisturbed.returncode == 0, errors
  length = time.monotonic() - start
  moments = random.Random(0)
  for _ in range(5):
    process = _start(tmp_path / 'killed', env)
    time.sleep(moments.uniform(0.1, 0.9) * length)
    process.kill()
    process.communicate(timeout=60)
  last = _start(tmp_path / 'killed', env)
  _, errors = last.communicate(timeout=300)
  assert last.returncode == 0, errors
  same_params(tmp_path / 'undisturbed', tmp_path / 'killed')
  once = each_step_once(tmp_path / 'undisturbed', tiny(quickstart.get_config()))
  again = each_step_once(tmp_path / 'killed', tiny(quickstart.get_config()))
  for name in once:
    assert stable(again[name]) == stable(once[name])


@pytest.mark.nightly
@pytest.mark.slow
def test_sigterm_saves_and_leaves_with_the_shells_status(tmp_path):
  process = _start(tmp_path / 'run', {**os.environ, 'JAX_PLATFORMS': 'cpu'})
  metrics = tmp_path / 'run/metrics.jsonl'
  for _ in range(1200):
    if metrics.exists() and metrics.stat().st_size:
      break
    time.sleep(0.05)
  process.send_signal(signal.SIGTERM)
  _, errors = process.communicate(timeout=120)
  assert process.returncode == 128 + signal.SIGTERM, errors
  assert 'the same command continues from there' in errors
  assert 'Traceback' not in errors


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize('minibatches', [1, 2])
def test_packed_updates_are_those_of_padded_ones(finished, tmp_path, minibatches):
  workdir, config, _ = finished
  config = config.copy_and_resolve_references()
  with config.unlocked():
    config.init = str(workdir / 'warm_start')
    config.rl.update({'steps': 1, 'minibatches': minibatches, 'bucket': 0, 'microbatches': 2})
    config.entropy_coef = 0.1  # a gradient, though so small a model earns no reward
  train(config, tmp_path / 'padded')
  with config.unlocked():
    config.rl.bucket = 8
  train(config, tmp_path / 'packed')
  expected, found = (read_metrics(tmp_path / run)['rl'][0] for run in ('padded', 'packed'))
  assert expected['grad_norm'] > 1e-3
  for name in ('reward', 'length', 'loss', 'entropy', 'grad_norm', 'kl_ref'):
    assert found[name] == pytest.approx(expected[name], rel=1e-4, abs=1e-6), name
  a, b = restore_params(tmp_path / 'padded'), restore_params(tmp_path / 'packed')
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=2e-5), a, b)


def test_base_lists_every_argument_of_a_method_and_task():
  config = base.get_config()
  assert {'clip_low', 'clip_high', 'eps', 'ddof'} == set(config.method_kwargs)
  assert {'p_right', 'p_slip', 'min_digits', 'max_digits'} <= set(config.task_kwargs)
