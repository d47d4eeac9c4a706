"""Rollouts ahead of their step: which policy draws what, and that interruptions change nothing."""

import random
import signal
import subprocess
import sys
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_processes import finish, start_two
from test_train import REPOSITORY, each_step_once, same_params, stable

from configs import method as method_config
from configs import quickstart
from experiments import ahead, build, cli, estimate
from experiments.errors import Interrupted, UserError
from experiments.journal import Journal
from experiments.learner import make_learner
from experiments.logs import read_metrics
from experiments.train import train
from rljax import training, verifiers
from rljax.checkpoints import Checkpoints, restore_params
from rljax.types import Batch, Scores

# A gradient, though so small a model earns no reward, and every checkpoint is kept.
OVERRIDES = {
  'entropy_coef': 0.1,
  'rl.optimizer.learning_rate': 3e-3,
  'rl.asynchronous.staleness': 1,
  'checkpoint.keep_last': 4,
}


def tiny(**changes):
  config = cli.settle(quickstart.get_config(), tiny=True).copy_and_resolve_references()
  with config.unlocked():
    changes = {name.replace('__', '.'): value for name, value in changes.items()}
    config.update_from_flattened_dict(OVERRIDES | changes)
  return config


def staleness(k, devices=0, **changes):
  return tiny(rl__asynchronous__staleness=k, rl__asynchronous__sampler_devices=devices, **changes)


def test_a_method_that_steers_its_sampler_does_not_draw_ahead(tmp_path):
  config = cli.settle(method_config.get_config('hapo'), tiny=True)
  config.rl.asynchronous.staleness = 1
  with pytest.raises(UserError, match=r'hapo draws each rollout .*staleness \(1\)'):
    train(config, tmp_path / 'run')


def no_thread_of_a_rollout():
  return not any(thread.name.startswith('rollout') for thread in threading.enumerate())


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  """A tiny run at staleness 1: its directory and configuration."""
  workdir = tmp_path_factory.mktemp('runs') / 'undisturbed'
  train(tiny(), workdir)
  return workdir, tiny()


@pytest.mark.parametrize(
  'k, expected', [(1, [0, 0, 1, 2, 3]), (2, [0, 0, 0, 1, 2]), (9, [0, 0, 0, 0, 0])]
)
def test_a_step_is_drawn_by_the_policy_of_k_steps_before(k, expected):
  assert [ahead.version(step, k) for step in range(1, 6)] == expected


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize(
  'k, devices, refill, mesh', [(1, 0, 0, 1), (2, 0, 1, 4), (1, 1, 0, 1), (3, 2, 1, 2)]
)
def test_behavior_logp_is_that_of_the_policy_that_the_version_names(k, devices, refill, mesh):
  """The policies are unrelated here, so a scorer tells which one drew a token."""
  config = staleness(k, devices, rl__refill=refill, rl__steps=5, mesh__data=mesh)
  parts = build.check(config)
  policies = [build.initial_params(parts, seed) for seed in range(5)]
  scores = jax.jit(lambda params, batch: training.make_score(parts.model)(params, batch).logp)
  with ahead.worker() as thread:
    source = ahead.Ahead(config, parts, thread, policies[0], jax.random.key(0))
    for step in range(1, 6):
      drawn, seen = source.take(step, jax.tree.map(lambda x: x + 0, policies[step - 1]))
      batch = drawn.batch
      wanted = max(step - 1 - k, 0)
      assert seen['staleness'] == step - 1 - wanted
      version, real = np.asarray(batch.extras['version']), np.asarray(batch.completion) >= 0
      assert version.dtype == np.int32 and version.shape == batch.completion.shape
      np.testing.assert_array_equal(version, np.where(real, wanted, -1))
      assert batch.behavior_logp.sharding.device_set == set(parts.mesh.devices.flat)
      gaps = [
        np.abs(np.asarray(scores(params, batch)) - np.asarray(batch.behavior_logp)).max()
        for params in policies
      ]
      assert gaps[wanted] < 1e-4
      assert min(gap for v, gap in enumerate(gaps) if v != wanted) > 1e-2
  assert no_thread_of_a_rollout()


def test_devices_set_apart_sample_and_no_others():
  config = staleness(1, 2, mesh__tensor=2)
  parts = build.check(config)
  actor = build.sampler_parts(config, parts)
  assert actor.mesh.shape == {'data': 1, 'fsdp': 1, 'tensor': 2}
  assert set(actor.mesh.devices.flat) == set(jax.devices()[2:])
  assert set(parts.mesh.devices.flat) == set(jax.devices()[:2])
  shared = build.check(staleness(1))
  assert build.sampler_parts(staleness(1), shared) is shared


@pytest.mark.nightly
@pytest.mark.slow
def test_a_run_says_how_stale_it_is_and_corrects_for_it(finished):
  workdir, config = finished
  records = each_step_once(workdir, config)['rl']
  assert [r['staleness'] for r in records] == [0, 1, 1, 1]
  assert all(r['nonfinite_grads'] == 0 and r['seconds/wait'] >= 0 for r in records)
  # Step 2 learns from what the first policy drew, and one update lies between.
  assert records[0]['mismatch'] < 1e-4
  assert all(r['mismatch'] > 1e-3 for r in records[1:])
  assert abs(records[0]['loss/importance'] - 1) < 1e-5
  assert all(1e-6 < abs(r['loss/importance'] - 1) < 0.2 for r in records[1:])
  assert all(0 <= r['loss/importance_capped'] < 0.5 for r in records)


@pytest.mark.nightly
@pytest.mark.slow
def test_a_checkpoint_holds_the_policies_before_its_own(tmp_path):
  config = staleness(2, checkpoint__every=1, rl__steps=3, eval__every=0)
  train(config, tmp_path / 'run')
  parts = build.check(config)
  state = make_learner(config, parts, build.method(config)).init(build.initial_params(parts, 0))
  with Checkpoints(tmp_path / 'run/checkpoints') as checkpoints:
    found = checkpoints.restore(ahead.saved_like(config, parts, state))
  state, older = ahead.without_older(found.state)
  for step, params in {3: state.params, 2: older[0], 1: older[1]}.items():
    expected = restore_params(tmp_path / 'run/checkpoints' / str(step))
    jax.tree.map(np.testing.assert_array_equal, params, expected)
  first, second = (jax.tree.leaves(tree)[0] for tree in older)
  assert np.abs(np.asarray(first) - np.asarray(second)).max() > 0


def run_until(config, workdir, step, monkeypatch, *, saved):
  """A run that is left at a step: by a signal, or without a last word."""
  log, stop = Journal.step, {'now': False}

  def logged(self, name, number, *args):
    stop['now'] |= (name, number) == ('rl', step)
    if stop['now'] and not saved:
      raise MemoryError('killed')
    return log(self, name, number, *args)

  with monkeypatch.context() as patch:
    patch.setattr(Journal, 'step', logged)
    patch.setattr(Journal, 'interrupted', lambda self: stop['now'])
    patch.setattr('experiments.cli.Interrupts.exit_status', 143)
    with pytest.raises(Interrupted if saved else MemoryError):
      train(config, workdir)
  assert no_thread_of_a_rollout()


def assert_same_run(found, expected, config):
  same_params(found, expected)
  again, once = each_step_once(found, config), each_step_once(expected, config)
  for name in once:
    assert stable(again[name]) == stable(once[name])
  assert (found / 'samples.jsonl').read_bytes() == (expected / 'samples.jsonl').read_bytes()


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize('step, saved', [(1, True), (3, True), (4, False)])
def test_left_anywhere_it_ends_like_the_undisturbed_run(
  finished, tmp_path, monkeypatch, step, saved
):
  workdir, config = finished
  run_until(config, tmp_path / 'run', step, monkeypatch, saved=saved)
  train(config, tmp_path / 'run', resume='must')
  assert_same_run(tmp_path / 'run', workdir, config)


@pytest.mark.nightly
@pytest.mark.slow
def test_left_early_at_staleness_three_with_refills_and_an_adapter(finished, tmp_path, monkeypatch):
  workdir, _ = finished
  config = staleness(3, init=str(workdir / 'warm_start'), rl__refill=1, lora__rank=2, rl__steps=6)
  train(config, tmp_path / 'undisturbed')
  run_until(config, tmp_path / 'run', 2, monkeypatch, saved=True)
  train(config, tmp_path / 'run', resume='must')
  same_params(tmp_path / 'undisturbed', tmp_path / 'run')
  once, again = (read_metrics(tmp_path / name)['rl'] for name in ('undisturbed', 'run'))
  assert stable(again) == stable(once)
  assert [r['staleness'] for r in once] == [0, 1, 2, 3, 3, 3]


@pytest.mark.nightly
@pytest.mark.slow
def test_devices_set_apart_change_where_and_not_what(finished, tmp_path, monkeypatch):
  workdir, _ = finished
  config = staleness(1, 1)
  run_until(config, tmp_path / 'run', 2, monkeypatch, saved=True)
  train(config, tmp_path / 'run', resume='must')
  assert_same_run(tmp_path / 'run', workdir, config)


@pytest.mark.nightly
@pytest.mark.slow
def test_meshes_of_both_kinds_change_where_and_not_what(finished, tmp_path):
  workdir, _ = finished
  train(staleness(1, 2, mesh__tensor=2), tmp_path / 'run')
  found, expected = (read_metrics(run)['rl'] for run in (tmp_path / 'run', workdir))
  for a, b in zip(found[:2], expected[:2], strict=True):
    for name in ('length', 'entropy', 'grad_norm', 'loss/importance'):
      assert a[name] == pytest.approx(b[name], rel=1e-3), name


@pytest.mark.nightly
@pytest.mark.slow
def test_a_fault_of_the_thread_ends_the_run_with_its_own_words(finished, tmp_path, monkeypatch):
  workdir, _ = finished
  calls, verify = [], verifiers.verify

  def failing(*args):
    if threading.current_thread() is not threading.main_thread():
      calls.append(args)
      if len(calls) == 3:
        raise OSError('the sandbox is gone')
    return verify(*args)

  monkeypatch.setattr(verifiers, 'verify', failing)
  config = tiny(init=str(workdir / 'warm_start'))
  with pytest.raises(OSError, match='the sandbox is gone'):
    train(config, tmp_path / 'run')
  assert len(calls) >= 3 and no_thread_of_a_rollout()
  assert [r['step'] for r in read_metrics(tmp_path / 'run')['rl']] == [1, 2]
  monkeypatch.undo()
  train(config, tmp_path / 'run')
  same_params(tmp_path / 'run', workdir)


@pytest.mark.nightly
@pytest.mark.slow
def test_off_it_leaves_no_trace(finished, tmp_path):
  workdir, _ = finished
  config = staleness(0, init=str(workdir / 'warm_start'), rl__steps=1)
  train(config, tmp_path / 'run')
  parts = build.check(config)
  state = make_learner(config, parts, build.method(config)).init(build.initial_params(parts, 0))
  assert ahead.saved_like(config, parts, state) is state
  with Checkpoints(tmp_path / 'run/checkpoints') as checkpoints:
    assert type(checkpoints.restore(state).state) is type(state)
  record = read_metrics(tmp_path / 'run')['rl'][0]
  assert {'seconds/sample', 'seconds/verify'} <= record.keys()
  assert not {'staleness', 'loss/importance', 'seconds/wait'} & record.keys()


def test_the_correction_can_be_left_out():
  assert 'importance' in build.method(tiny()).terms
  assert 'importance' not in build.method(tiny(rl__asynchronous__cap=0.0)).terms
  assert 'importance' not in build.method(staleness(0)).terms


def test_an_entropy_bonus_and_a_kl_penalty_are_not_weighted():
  """Neither is a mean over the tokens that were sampled: all weights are 1/2 here."""
  logp = jnp.full((1, 2, 3), -1.0)
  batch = Batch(
    mask=jnp.ones((1, 2, 3)),
    rewards=jnp.array([[0.0, 1.0]]),
    behavior_logp=logp + jnp.log(2.0),
    ref_logp=logp - 0.5,
  )
  values = []
  for k in (0, 1):
    method = build.method(staleness(k, kl_coef=0.1))
    _, prepared = method.prepare(method.init(), batch)
    scores = Scores(logp, entropy=-2 * logp)
    values.append({name: term.value(scores, prepared) for name, term in method.terms.items()})
  plain, corrected = values
  for name in ('kl', 'entropy', 'clip_fraction'):
    np.testing.assert_array_equal(corrected[name], plain[name])
  np.testing.assert_allclose(corrected['policy'], plain['policy'] / 2, rtol=1e-6)
  assert np.abs(plain['policy']).min() > 0 and np.abs(plain['kl']).min() > 0


def test_older_policies_are_counted_on_the_disk_and_in_memory():
  parts = build.check(tiny())
  count, kept = build.parameter_count(parts.model), tiny().checkpoint.keep_last + 2
  disk = [estimate.checkpoint_bytes(staleness(k), parts) for k in (0, 2)]
  assert disk[1] - disk[0] == 2 * 4 * count * kept
  name = 'weights, reference, gradients, optimizer'
  memory = [estimate.memory_bytes(staleness(k), parts)[name] for k in (0, 2)]
  assert memory[1] - memory[0] == 3 * 4 * count


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'staleness': -1}, 'rl.asynchronous.staleness is -1; it must be at least 0'),
    ({'cap': -0.5}, 'rl.asynchronous.cap is -0.5'),
    ({'sampler_devices': -1}, 'rl.asynchronous.sampler_devices is -1'),
    ({'staleness': 0, 'sampler_devices': 1}, 'set rl.asynchronous.staleness to 1 or more'),
    ({'sampler_devices': 4}, r'sampler_devices \(4\) leaves none of 4 devices'),
    ({'sampler_devices': 3, 'prompts': 8}, r'rl.prompts \(8\) does not divide over .*\(3\)'),
    ({'sampler_devices': 1, 'tensor': 2}, r'Without the devices of .*needs 2 devices but .* 3'),
    ({'sampler_devices': 1, 'data': 3, 'prompts': 9, 'rows': 9}, None),
  ],
)
def test_mistakes_are_found_before_any_compute(changes, message):
  places = {'prompts': 'rl.prompts', 'rows': 'warm_start.rows'}
  places |= {name: f'mesh.{name}' for name in ('data', 'tensor')}
  named = {places.get(k, f'rl.asynchronous.{k}'): v for k, v in changes.items()}
  if message is None:
    build.check(tiny(**named))
  else:
    with pytest.raises(UserError, match=message):
      build.check(tiny(**named))


def test_devices_set_apart_divide_by_the_tensor_axis():
  parts = build.check(staleness(1))
  parts = parts._replace(mesh=training.sharding.make_mesh(tensor=2, devices=jax.devices()[:2]))
  with pytest.raises(UserError, match=r'sampler_devices \(3\) does not fit: .* 3 devices do not'):
    build.sampler_parts(staleness(1, 3), parts)


def test_several_processes_cannot_set_devices_apart(monkeypatch):
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  with pytest.raises(UserError, match=r'sampler_devices \(1\) must be 0 with several processes'):
    build.check(staleness(1, 1))


FLAGS = [f'--config.{name}={value}' for name, value in OVERRIDES.items()]


def start(workdir):
  command = [sys.executable, '-m', 'experiments.train', '--config=configs/quickstart.py', '--tiny']
  return subprocess.Popen(
    [*command, f'--workdir={workdir}', *FLAGS],
    cwd=REPOSITORY,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    text=True,
  )


@pytest.mark.nightly
@pytest.mark.slow
def test_terminated_and_killed_it_ends_like_the_undisturbed_run(tmp_path):
  # In processes of its own kind, too: the number of CPU devices changes the order of sums.
  finish([start(tmp_path / 'undisturbed')])
  metrics, moments = tmp_path / 'run/metrics.jsonl', random.Random(0)
  for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGKILL):
    process = start(tmp_path / 'run')
    known = metrics.stat().st_size if metrics.exists() else 0
    while process.poll() is None and not (metrics.exists() and metrics.stat().st_size > known):
      time.sleep(0.05)
    time.sleep(moments.uniform(0.0, 1.0))
    process.send_signal(number)
    _, errors = process.communicate(timeout=300)
    assert process.returncode in (0, 128 + number, -number), errors
    assert 'Traceback' not in errors
  finish([start(tmp_path / 'run')])
  assert_same_run(tmp_path / 'run', tmp_path / 'undisturbed', tiny())


@pytest.mark.nightly
@pytest.mark.slow
def test_two_processes_share_their_devices_with_the_sampler(finished, tmp_path):
  workdir, _ = finished
  finish(start_two(tmp_path / 'run', *FLAGS))
  found, expected = (read_metrics(run)['rl'] for run in (tmp_path / 'run', workdir))
  for a, b in zip(found, expected, strict=True):
    assert a['staleness'] == b['staleness']
    for name in ('length', 'entropy', 'grad_norm', 'loss/importance'):
      assert a[name] == pytest.approx(b[name], rel=1e-3), name
