"""Small runs of methods that learn from hints, worked solutions and columns of data."""

import numpy as np
import pytest

from configs import base, method
from experiments import cli
from experiments.logs import read_metrics
from experiments.sft import sft
from experiments.train import train

METHODS = (
  'adhint',
  'calibrl',
  'cft',
  'ghpo',
  'grao',
  'grpo_s',
  'gui_g1',
  'progrpo',
  'q_hawkeye',
  'red',
  'red_sft',
  'redi',
  'rrhf',
  'seele',
  'univg',
)


def short(config):
  """A tiny configuration of sums of single digits, which are half right after a short start."""
  config = cli.settle(config, tiny=True)
  with config.unlocked():
    config.task_kwargs.update(min_digits=1, max_digits=1, p_right=1.0, p_slip=0.5)
    config.warm_start.steps = 400
    config.rl.update(max_new_tokens=12, steps=2)
    config.eval.update(problems=4, samples=2, every=0)
    config.checkpoint.every = 2
  return config


@pytest.mark.nightly
@pytest.mark.slow
def test_methods_run_to_their_end_with_a_gradient(tmp_path):
  sft(short(base.get_config()), tmp_path / 'start')
  for name in METHODS:
    config = short(method.get_config(name))
    with config.unlocked():
      config.init = str(tmp_path / 'start')
    summary = train(config, tmp_path / name)
    assert summary['steps']['rl'] == 2
    for record in read_metrics(tmp_path / name)['rl']:
      numbers = [x for key, x in record.items() if key != 'phase']
      assert np.isfinite(numbers).all(), (name, record)
      assert record['grad_norm'] > 0 and record['skipped'] == 0, (name, record)
      assert record['mismatch'] < 1e-3, (name, record)
