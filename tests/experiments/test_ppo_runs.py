"""Whole runs with a value model: it learns, is kept and found again, on a mesh and beside LoRA."""

import jax
import numpy as np
import pytest
from stops import train_in_two_parts

from configs import method as method_config
from experiments import ahead, build, cli, estimate
from experiments.errors import UserError
from experiments.learner import make_learner
from experiments.logs import read_metrics
from experiments.train import train
from rljax import methods, models
from rljax.checkpoints import Checkpoints, restore_params


def changed(config, **changes):
  config = config.copy_and_resolve_references()
  with config.unlocked():
    config.update_from_flattened_dict({k.replace('__', '.'): v for k, v in changes.items()})
  return config


def tiny(**changes):
  config = cli.settle(method_config.get_config('ppo'), tiny=True)
  # So small a model earns nothing: the penalty is what there is to learn, and for the critic to
  # foresee, and the bonus moves the policy away from the reference.
  config = changed(config, method_kwargs__kl_coef=1.0, entropy_coef=0.1)
  return changed(config, rl__epochs=2, rl__minibatches=2, rl__microbatches=2, **changes)


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  """A tiny run of several updates a batch: its directory, configuration and summary."""
  workdir = tmp_path_factory.mktemp('runs') / 'undisturbed'
  config = tiny()
  return workdir, config, train(config, workdir)


def saved(workdir, config):
  """The whole state in a run's newest checkpoint."""
  parts = build.check(config)
  learner = make_learner(config, parts, build.method(config))
  like = ahead.saved_like(config, parts, learner.init(build.initial_params(parts, 0)))
  with Checkpoints(workdir / 'checkpoints') as checkpoints:
    return ahead.without_older(checkpoints.restore(like).state)[0]


def largest_change(a, b):
  return max(
    float(np.abs(np.asarray(x) - np.asarray(y)).max())
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
  )


@pytest.mark.nightly
@pytest.mark.slow
def test_a_run_trains_both_models_and_says_how(finished):
  workdir, config, summary = finished
  records = read_metrics(workdir)['rl']
  names = {'loss', 'loss/value', 'loss/explained_variance', 'grad_norm'}
  for record in records:
    assert all(np.isfinite(record[f'critic/{name}']) for name in names)
    assert record['critic/nonfinite_grads'] == record['critic/skipped'] == 0
    assert 'critic/mismatch' not in record and record['mismatch'] < 1e-4
  assert records[0]['critic/loss/explained_variance'] == 0  # its head starts at zero
  assert records[-1]['critic/loss/value'] > 0 and records[-1]['critic/grad_norm'] > 0
  state = saved(workdir, config)
  assert int(state.step) == int(state.critic.step) == config.rl.steps * 4
  start = models.value_params(restore_params(workdir / 'warm_start'))
  assert largest_change(state.critic.params, start) > 1e-3
  assert largest_change(state.critic.params['layers'], state.params['layers']) > 1e-3
  assert np.abs(state.critic.params['value_head']).max() > 1e-3
  assert summary['method'] == 'ppo'


@pytest.mark.nightly
@pytest.mark.slow
def test_interrupted_it_ends_like_the_undisturbed_run(finished, tmp_path):
  workdir, config, _ = finished
  train_in_two_parts(config, tmp_path / 'run', after=3)
  a, b = saved(workdir, config), saved(tmp_path / 'run', config)
  assert jax.tree.structure(a) == jax.tree.structure(b) and jax.tree.leaves(a.critic)
  jax.tree.map(np.testing.assert_array_equal, a, b)
  assert (tmp_path / 'run/samples.jsonl').read_bytes() == (workdir / 'samples.jsonl').read_bytes()


@pytest.mark.nightly
@pytest.mark.slow
def test_a_mesh_gives_the_run_of_one_device(finished, tmp_path):
  workdir, config, _ = finished
  config = changed(
    config, mesh__fsdp=2, mesh__tensor=2, rl__steps=2, init=str(workdir / 'warm_start')
  )
  train(config, tmp_path / 'run')
  state = saved(tmp_path / 'run', config)
  assert not state.critic.params['layers']['query'].sharding.is_fully_replicated
  found, expected = (read_metrics(run)['rl'] for run in (tmp_path / 'run', workdir))
  for record, wanted in zip(found, expected, strict=False):
    for name in ('reward', 'critic/loss', 'critic/grad_norm', 'critic/loss/explained_variance'):
      assert record[name] == pytest.approx(wanted[name], rel=2e-3, abs=1e-6), name


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize(
  'changes',
  [
    {'lora__rank': 2},
    {'rl__bucket': 8},
    {'rl__asynchronous__staleness': 1},
    {'critic__optimizer__name': 'muon'},
    {'critic__optimizer__name': 'adafactor'},
  ],
  ids=str,
)
def test_it_goes_with_the_options_of_a_run(finished, tmp_path, changes):
  workdir, config, _ = finished
  config = changed(config, rl__steps=2, init=str(workdir / 'warm_start'), **changes)
  train(config, tmp_path / 'run')
  records = read_metrics(tmp_path / 'run')['rl']
  assert all(np.isfinite(r['critic/loss']) and r['critic/skipped'] == 0 for r in records)
  state = saved(tmp_path / 'run', config)
  # All of the critic is trained, also beside an adapter.
  start = models.value_params(restore_params(workdir / 'warm_start'))
  moved = jax.tree.map(lambda x, y: float(np.abs(x - y).max()), state.critic.params, start)
  assert min(jax.tree.leaves(moved)) > 0


def test_the_estimate_counts_the_critic():
  config = tiny(critic__optimizer__name='adamw')
  parts = build.check(config)
  method, plain = build.method(config), methods.grpo()
  size = models.count(models.value_model(parts.model).specs)
  memory = [sum(estimate.memory_bytes(config, parts, m).values()) for m in (plain, method)]
  # Parameters and two moments; the gradients take turns.
  gradient = size - models.count(parts.model.specs)
  assert memory[1] - memory[0] == 4 * (3 * size + gradient)
  disk = [estimate.checkpoint_bytes(config, parts, m) for m in (plain, method)]
  kept = config.checkpoint.keep_last + config.checkpoint.keep_best + 1
  assert disk[1] - disk[0] == 4 * 3 * size * kept
  plain_flops, flops = (estimate.step_flops(config, parts, m) for m in (plain, method))
  assert flops['sample'] == plain_flops['sample']
  assert flops['update'] == 2 * plain_flops['update']
  assert flops['score'] == 1.5 * plain_flops['score']


def test_an_unknown_optimizer_of_the_critic_is_found_before_any_compute():
  with pytest.raises(UserError, match=r"no optimizer 'moun'. Did you mean 'muon'"):
    build.check(tiny(critic__optimizer__name='moun'))


def test_other_methods_have_no_critic():
  config = cli.settle(method_config.get_config('grpo'), tiny=True)
  parts = build.check(config)
  state = make_learner(config, parts, build.method(config)).init(build.initial_params(parts, 0))
  assert state.critic == ()
