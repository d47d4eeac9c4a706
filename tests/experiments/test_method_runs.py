"""Every method from one warm start: the steps are those of a run, and lines are made once."""

import json
import math

import pytest

from configs import method as method_config
from configs import quickstart
from experiments import build, cli, method_runs
from experiments.errors import UserError
from experiments.logs import read_metrics
from experiments.train import train
from rljax.checkpoints import Checkpoints, MismatchError

FACTS = {
  'command': 'python -m experiments.method_runs --init=there --tiny',
  'task': 'column_addition',
  'steps': 3,
  'prompts': 8,
  'group_size': 4,
  'device': 'cpu',
  'host_cores': 2,
  'jax': '0',
}


@pytest.fixture(scope='module')
def start(tmp_path_factory):
  """A run that holds parameters and nothing else."""
  config = cli.settle(quickstart.get_config(), tiny=True)
  workdir = tmp_path_factory.mktemp('runs') / 'start'
  with Checkpoints(workdir / 'checkpoints', keep_last=1, keep_best=0) as checkpoints:
    params = build.initial_params(build.check(config), config.seed)
    checkpoints.save(0, {'params': params}, {})
  return str(workdir)


def configs(start, *names, **overrides):
  # A gradient, though so small a model earns no reward.
  overrides = {'rl.steps': 3, 'entropy_coef': 0.1} | overrides
  return method_runs.with_methods(
    quickstart.get_config(), names, init=start, tiny=True, overrides=overrides
  )


def record(**changes):
  found = {'reward': 0.0, 'length': 4.0, 'seconds': 1.0, 'grad_norm': 2.0, 'skipped': 0.0}
  return found | changes


def test_the_ends_of_a_run_are_means_of_three_steps_and_trouble_is_named():
  records = [record(reward=n, entropy=1.0, seconds=n + 1) for n in range(7)]
  records[2] |= {'loss': math.nan, 'skipped': 1.0}
  found = method_runs.summarise(records)
  assert found['reward'] == [1.0, 5.0] and found['entropy'] == [1.0, 1.0]
  assert found['seconds'] == 4.0 and found['seconds_of_first'] == 1.0
  assert found['nonfinite'] == ['loss'] and found['skipped'] == 1.0
  row = method_runs.cells({'method': 'x', **found})
  assert row == ['x', '1.000 -> 5.000', '1.000 -> 1.000', '4.0 -> 4.0', '4.00', row[-1]]
  assert row[-1] == 'loss not finite, 1 skipped'


def test_what_nobody_measured_is_left_open():
  found = method_runs.summarise([record(), record(reward=1.0)])
  assert found['entropy'] is None and found['reward'] == [0.5, 0.5]
  assert method_runs.cells({'method': 'x', **found})[2] == '-'


def test_every_method_by_name_has_a_configuration_that_can_be_written_down():
  names = method_config.method_names()
  made = method_runs.with_methods(quickstart.get_config(), names, init='there')
  assert {cli.config_hash(config) for config in made.values()} and len(made) == len(names) > 60
  assert all(config.rl.steps == 20 and config.init == 'there' for config in made.values())
  assert made['d3s'].method_kwargs.samples_init == 64 * 8 and made['d3s'].method_kwargs.steps == 20
  tiny = method_runs.with_methods(quickstart.get_config(), ['d3s'], init='there', tiny=True)
  assert tiny['d3s'].method_kwargs.samples_final == 8 * 4 // 2


def test_what_has_a_line_is_not_run_again_and_what_could_not_run_is(tmp_path, monkeypatch):
  out, seen, broken = tmp_path / 'docs' / 'runs.jsonl', [], {'gspo'}

  def run(config, begin, watch):
    seen.append(config.method)
    if config.method in broken:
      raise UserError('It needs what nobody brings.')
    return [record(entropy=1.0)]

  def lines_of(*names, facts=FACTS, **overrides):
    seen.clear()
    return method_runs.method_runs(configs('there', *names, **overrides), facts, out)

  monkeypatch.setattr(method_runs, 'run', run)
  lines = lines_of('grpo', 'gspo')
  assert seen == ['grpo', 'gspo'] and lines[1]['reason'] == 'It needs what nobody brings.'
  assert lines == [json.loads(text) for text in out.read_text().splitlines()]
  page = out.with_suffix('.md').read_text()
  assert FACTS['command'] in page and '| grpo | 0.000 -> 0.000 |' in page
  assert '- `gspo`: It needs' in page
  broken.clear()
  lines = lines_of('dapo', 'grpo', 'gspo')
  assert seen == ['dapo', 'gspo'] and [line['method'] for line in lines] == ['dapo', 'grpo', 'gspo']
  assert not any('reason' in line for line in lines)
  assert '`gspo`: ' not in out.with_suffix('.md').read_text()
  lines_of('grpo', **{'rl.steps': 4})
  assert seen == ['grpo']  # another configuration is another run
  with pytest.raises(UserError, match=r'has lines of `python -m experiments[.]method_runs'):
    lines_of('grpo', facts=FACTS | {'command': 'another'})


def test_a_start_of_another_model_ends_the_command(start, tmp_path):
  wide = configs(start, 'grpo', 'gspo', **{'model.dim': 64})
  with pytest.raises(MismatchError, match='embedding'):
    method_runs.method_runs(wide, FACTS, tmp_path / 'runs.jsonl')


@pytest.mark.nightly
@pytest.mark.slow
def test_two_methods_run_from_one_start_and_a_third_says_why_not(start, tmp_path, monkeypatch):
  made = []
  sampler = method_runs.make_policy_sampler
  monkeypatch.setattr(
    method_runs, 'make_policy_sampler', lambda *args: made.append(args) or sampler(*args)
  )
  some = configs(start, 'cure', 'grpo', 'gspo', **{'rl.minibatches': 2})
  cure, grpo, gspo = method_runs.method_runs(some, FACTS, tmp_path / 'runs.jsonl')
  assert 'minibatches' in cure['reason'] and len(made) == 1
  assert all(x['grad_norm'] > 0 and not x['nonfinite'] and not x['skipped'] for x in (grpo, gspo))
  assert grpo['reward'] == gspo['reward'] and grpo['entropy'][0] > 1


@pytest.mark.nightly
@pytest.mark.slow
def test_the_steps_are_those_of_a_run(start, tmp_path):
  config = configs(start, 'grpo')['grpo']
  train(config, tmp_path / 'run')
  expected = read_metrics(tmp_path / 'run')['rl']
  found = method_runs.run(config, method_runs.beginning(), lambda step, metrics: None)
  assert len(found) == len(expected) == 3
  for ours, theirs in zip(found, expected, strict=True):
    for name in ('reward', 'length', 'entropy', 'loss', 'grad_norm', 'kl_ref', 'mismatch'):
      assert ours[name] == theirs[name], name
