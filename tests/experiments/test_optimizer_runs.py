"""Runs with each optimizer: they learn, their checkpoints go on, and the estimate knows their
state."""

import jax
import numpy as np
import pytest
from stops import train_in_two_parts

from configs import quickstart
from experiments import build, cli, estimate
from experiments.logs import read_metrics
from experiments.train import train
from rljax import models, training
from rljax.checkpoints import restore_params


def tiny(name, **changes):
  config = cli.settle(quickstart.get_config(), tiny=True)
  with config.unlocked():
    config.warm_start.optimizer.name = config.rl.optimizer.name = name
    config.entropy_coef = 0.1  # a gradient, though so small a model earns no reward
    config.update_from_flattened_dict(changes)
  return config


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize('name, rank', [('muon', 0), ('adafactor', 0), ('muon', 2)])
def test_a_run_learns_and_goes_on_from_its_checkpoints(name, rank, tmp_path):
  config = tiny(name, **{'lora.rank': rank, 'rl.steps': 2, 'checkpoint.every': 1})
  train(config, tmp_path / 'undisturbed')
  records = read_metrics(tmp_path / 'undisturbed')
  losses = [r['loss'] for r in records['warm_start']]
  assert np.mean(losses[-5:]) < 0.75 * losses[0]
  assert records['rl'][0]['kl_ref'] < 1e-9 < records['rl'][1]['kl_ref']

  train_in_two_parts(config, tmp_path / 'run', after=1)
  a, b = (restore_params(tmp_path / run) for run in ('undisturbed', 'run'))
  jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize('name', ['adamw', 'muon', 'adafactor'])
@pytest.mark.parametrize('rank', [0, 4])
def test_the_estimate_counts_the_state_that_there_will_be(name, rank):
  config = tiny(name, **{'lora.rank': rank, 'model.dim': 128, 'model.ff_dim': 256})
  parts = build.check(config)
  specs = parts.policy.specs
  tx = build.optimizer(config.rl.optimizer, 10, specs)
  params = models.init(jax.random.key(0), specs)
  state = training.init_state(params, tx)
  there = sum(x.nbytes for x in jax.tree.leaves((params, state.opt_state)) if x.ndim)
  gradients = 4 * models.count(specs)
  reference = 4 * models.count(parts.model.specs)
  found = estimate.memory_bytes(config, parts)['weights, reference, gradients, optimizer']
  assert found == there + gradients + reference


def test_muon_and_adafactor_keep_less_than_adamw():
  sizes = {}
  for name in ('adamw', 'muon', 'adafactor'):
    config = tiny(name, **{'model.dim': 128, 'model.ff_dim': 256, 'model.head_dim': 32})
    parts = build.check(config)
    sizes[name] = estimate.state_size(config.rl.optimizer, parts.model.specs)
  count = models.count(parts.model.specs)
  assert sizes['adamw'] == 2 * count
  assert count < sizes['muon'] < 1.1 * count
  assert sizes['adafactor'] < 0.3 * count
