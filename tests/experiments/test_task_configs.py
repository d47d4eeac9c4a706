"""Every task by name in a configuration: built, judged, and a tiny run of those that are new."""

import json

import pytest

from configs import task as task_config
from experiments import build, cli
from experiments.errors import UserError
from experiments.logs import read_metrics
from experiments.train import train
from rljax import verifiers

GENERATED = (
  'column_addition',
  'countdown',
  'multiplication',
  'random_calculation',
  'random_calculation_latex',
)


@pytest.mark.parametrize('name', GENERATED)
def test_a_task_by_name_fits_its_lengths(name):
  parts = build.check(cli.settle(task_config.get_config(name), tiny=True))
  assert parts.task.name == name
  verifiers.canary(parts.task)


def test_an_unknown_task_names_the_nearest():
  with pytest.raises(ValueError, match="Did you mean 'countdown'"):
    task_config.get_config('countdwon')


def from_file(tmp_path):
  """A tiny configuration of sums in a file of the form of GSM8K."""
  path = tmp_path / 'sums.jsonl'
  rows = [
    {'question': f'{i} and {j}?', 'answer': f'{i}+{j}\n#### {i + j}'}
    for i in range(20)
    for j in range(20)
  ]
  path.write_text('\n'.join(map(json.dumps, rows)))
  config = cli.settle(task_config.get_config('from_file'), tiny=True)
  with config.unlocked():
    config.task_kwargs.path = str(path)
    config.rl.max_new_tokens, config.warm_start.width = 24, 40
  return config


def test_a_file_is_asked_for_and_fits_the_character_tokenizer(tmp_path):
  with pytest.raises(UserError, match='path is empty'):
    build.check(cli.settle(task_config.get_config('from_file'), tiny=True))
  parts = build.check(from_file(tmp_path))
  assert set('0123456789+#?\n and') <= set(parts.tokenizer.alphabet)


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize('name', ['countdown', 'multiplication', 'from_file'])
def test_a_tiny_run(name, tmp_path):
  config = from_file(tmp_path)
  if name != 'from_file':
    config = cli.settle(task_config.get_config(name), tiny=True)
  summary = train(config, tmp_path / 'run')
  assert summary['task'] == name
  records = read_metrics(tmp_path / 'run')['rl']
  assert records and all(record['verifier_failed'] == 0 for record in records)
