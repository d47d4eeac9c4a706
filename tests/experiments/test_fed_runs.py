"""Small runs of every method that needs more of a rollout than rewards."""

import json

import numpy as np
import pytest

from configs import base, method
from experiments import cli
from experiments.logs import read_metrics
from experiments.sft import sft
from experiments.train import train

HINTS_AND_DATA = (
  'adhint',
  'calibrl',
  'cft',
  'ghpo',
  'grao',
  'grpo_s',
  'gui_g1',
  'multirole',
  'progrpo',
  'q_hawkeye',
  'recap',
  'red',
  'red_sft',
  'redi',
  'rrhf',
  'seele',
  'univg',
  'verpo',
)

SECOND_ROUNDS = (
  'cure',
  'gigpo',
  'gigpo_scaled',
  'hgpo',
  'hgpo_centered',
  'prof',
  'repexp',
  'spae',
  'spo_chain',
  'spo_tree',
  'spo_tree_scaled',
  'tp_grpo',
  'verl',
  'vspo',
)


def short(config, max_digits, p_right):
  """A tiny configuration of small sums, some of which are right after a short start."""
  config = cli.settle(config, tiny=True)
  with config.unlocked():
    config.task_kwargs.update(min_digits=1, max_digits=max_digits, p_right=p_right)
    config.warm_start.steps = 600
    config.rl.steps = 2
    config.eval.update(problems=4, samples=2, every=0)
    config.checkpoint.every = 2
  return config


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize(
  ('names', 'max_digits', 'p_right'),
  [(HINTS_AND_DATA, 1, 0.6), (SECOND_ROUNDS, 2, 0.6)],
  ids=['hints and data', 'second rounds'],
)
def test_methods_run_to_their_end_with_a_gradient(tmp_path, names, max_digits, p_right):
  sft(short(base.get_config(), max_digits, p_right), tmp_path / 'start')
  for name in names:
    config = short(method.get_config(name), max_digits, p_right)
    with config.unlocked():
      config.init = str(tmp_path / 'start')
    summary = train(config, tmp_path / name)
    assert summary['steps']['rl'] == 2
    for record in read_metrics(tmp_path / name)['rl']:
      numbers = [x for key, x in record.items() if key != 'phase']
      assert np.isfinite(numbers).all(), (name, record)
      assert record['grad_norm'] > 0 and record['skipped'] == 0, (name, record)
      # Every row was drawn after the very prompt that it is scored after.
      assert record['mismatch'] < 1e-3, (name, record)
    if name == 'cure':
      lines = (tmp_path / name / 'samples.jsonl').read_text().splitlines()
      assert lines and all(len(json.loads(line)['completions']) == 16 for line in lines)


@pytest.mark.nightly
@pytest.mark.slow
def test_hapo_draws_its_second_rollout_at_the_temperatures_of_the_first(tmp_path):
  config = short(method.get_config('hapo'), 1, 0.6)
  config.warm_start.steps = 100
  train(config, tmp_path / 'run')
  before, after = (record['mismatch'] for record in read_metrics(tmp_path / 'run')['rl'])
  # The scorer does not temper, so that it sees what the sampler does.
  assert before < 1e-3 < after
