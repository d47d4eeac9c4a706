"""Small runs of methods that generate twice, or learn from steps."""

import json

import numpy as np
import pytest

from configs import base, method
from experiments import cli
from experiments.logs import read_metrics
from experiments.sft import sft
from experiments.train import train

METHODS = (
  'cure',
  'gigpo',
  'gigpo_scaled',
  'hgpo',
  'hgpo_centered',
  'spae',
  'spo_chain',
  'spo_tree',
  'spo_tree_scaled',
  'tp_grpo',
  'verl',
  'vspo',
)


def short(config):
  """A tiny configuration of sums of two columns at most, some of them right after a short start."""
  config = cli.settle(config, tiny=True)
  with config.unlocked():
    config.task_kwargs.update(min_digits=1, max_digits=2, p_right=0.6)
    config.warm_start.steps = 600
    config.rl.steps = 2
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
      # Every row was drawn after the very prompt that it is scored after.
      assert record['mismatch'] < 1e-4, (name, record)
  lines = (tmp_path / 'cure' / 'samples.jsonl').read_text().splitlines()
  assert all(len(json.loads(line)['completions']) == 16 for line in lines)
