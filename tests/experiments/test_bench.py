"""The benchmarks run, count what they say they count, and compare fairly."""

import collections
import importlib
import json
import os
import pathlib
import stat
import subprocess
import sys

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from experiments.bench import costs, harness, library, workload
from experiments.bench.peers import serve
from rljax import models

REPOSITORY = pathlib.Path(__file__).parents[2]
BENCHMARKS = ('sampler', 'update', 'grpo_step', 'sft', 'dpo', 'memory', 'compile_time')
TOKENS = {'sampler': 32, 'update': 48, 'grpo_step': 48, 'sft': 24, 'dpo': 48}


def command(*arguments):
  return subprocess.run(
    [sys.executable, '-m', *arguments],
    cwd=REPOSITORY,
    # Here it is about what runs, not how long it takes to compile.
    env={**os.environ, 'JAX_ENABLE_COMPILATION_CACHE': 'true'},
    capture_output=True,
    text=True,
    timeout=300,
  )


def the_line(done):
  assert done.returncode == 0, done.stderr
  lines = done.stdout.splitlines()
  assert len(lines) == 1
  return json.loads(lines[0])


@pytest.fixture
def small():
  """The tiny workload with a penalty, so that a reference is scored too."""
  config = workload.tiny()
  config.beta = 0.04
  return config


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize('name', TOKENS)
def test_a_repeat_counts_the_tokens_of_its_workload_and_can_be_repeated(name, small):
  module = importlib.import_module(f'experiments.bench.{name}')
  run = module.build(small)
  assert [run()['tokens'] for _ in range(3)] == 3 * [TOKENS[name]]


@pytest.mark.nightly
@pytest.mark.slow
def test_a_compilation_is_made_anew_at_every_repeat(small):
  from experiments.bench import compile_time

  run = compile_time.build(small)
  compiled = []
  listen = lambda event, *_, **__: compiled.append(event)  # noqa: E731
  jax.monitoring.register_event_duration_secs_listener(listen)
  try:
    counts = []
    for _ in range(2):
      compiled.clear()
      run()
      counts.append(sum('backend_compile' in event for event in compiled))
  finally:
    jax.monitoring.unregister_event_duration_listener(listen)
  assert counts[0] == counts[1] >= 3


@pytest.mark.nightly
@pytest.mark.slow
def test_a_few_completions_at_a_time_are_the_work_of_batches(small):
  small.update({'in_flight': 2, 'min_new_tokens': 3})
  module = importlib.import_module('experiments.bench.sampler')
  batches = module.in_batches(small)
  assert (batches.in_flight, batches.batch, small.batch) == (0, 1, 0)
  for config in (small, batches):
    assert 4 * 3 <= module.build(config)()['tokens'] <= 4 * 8
  small.in_flight = 3
  with pytest.raises(
    harness.Failed, match=r'in_flight is 3; expected a multiple of group_size \(2\)'
  ):
    module.in_batches(small)


def test_ragged_completions_have_uniform_lengths():
  config = workload.tiny()
  config.update({'prompts': 32, 'group_size': 32, 'min_new_tokens': 3})
  model = library.decoder(config)
  params, prompt = library.parameters(config, model), library.prompts(config)[:, 0]
  samples = library.sampler(config, model)(params, prompt, jax.random.key(1))
  counts = collections.Counter(np.asarray((samples.completion >= 0).sum(-1)).ravel().tolist())
  assert set(counts) == {3, 4, 5, 6, 7, 8}
  expected = 1024 / 6
  assert sum((n - expected) ** 2 / expected for n in counts.values()) < 20.5  # p = 0.001, 5 free


@pytest.mark.nightly
@pytest.mark.slow
def test_an_update_in_buckets_counts_the_tokens_that_are_there_and_is_compared():
  sizes = ['--workload.min_new_tokens=2', '--workload.bucket=4', '--repeats=1', '--warmup=0']
  line = the_line(command('experiments.bench.update', '--model=tiny', *sizes))
  assert line['ratio'] > 0 and line['padded']['tokens_per_s'] > 0
  config = workload.tiny()
  config.update({'min_new_tokens': 2, 'bucket': 4})
  lengths = np.asarray((library.rollout(config).completion >= 0).sum(-1))
  assert lengths.min() >= 2 and lengths.max() <= 8 and len(set(lengths.ravel())) > 1
  run = importlib.import_module('experiments.bench.update').build(config)
  assert run()['tokens'] == 4 * 4 + lengths.sum()


@pytest.mark.parametrize('name', workload.MODELS)
def test_costs_know_the_models_parameters(name):
  config = workload.MODELS[name]().model
  norms = (2 * config.num_layers + 1) * config.dim
  assert costs.parameters(config) + norms == models.count(
    library.decoder(ConfigDict({'model': config})).specs
  )


def test_costs_of_a_model_that_fits_on_paper():
  model = ConfigDict(
    dict(vocab_size=10, dim=2, num_layers=3, num_heads=2, num_kv_heads=1, head_dim=4, ff_dim=5)
    | dict(tied=True, dtype='float32')
  )
  # A layer: query and out 2 * 2*8, key and value 2 * 2*4, gate, up and down 3 * 2*5: 78 weights.
  # Attention over 6 tokens: 2 products * 8 wide * 36 / 2 pairs = 288. The head: 20 a token.
  assert costs.parameters(model) == 3 * 78 + 20
  assert costs.forward(model, 6, 4) == 2 * (3 * (6 * 78 + 288) + 4 * 20)


PEER = """#!{python}
import sys
sys.path.insert(0, {repository!r})
from experiments.bench.peers import serve

assert serve.workload()['group_size'] == 3, sys.argv
serve.serve(lambda: (lambda: {{'tokens': 4}}, {{'version': '7'}}))
"""


@pytest.fixture
def interpreter(tmp_path):
  """An executable that stands for a peer's interpreter, with the peer in it."""
  path = tmp_path / 'python'
  path.write_text(PEER.format(python=sys.executable, repository=str(REPOSITORY)))
  path.chmod(path.stat().st_mode | stat.S_IXUSR)
  return path


@pytest.mark.nightly
@pytest.mark.slow
def test_sampler_command_prints_one_json_line_with_the_ratio_to_a_peer(interpreter):
  line = the_line(
    command(
      'experiments.bench.sampler',
      '--model=tiny',
      '--workload.group_size=3',
      '--repeats=2',
      '--vs=tunix',
      f'--peer_python={interpreter}',
      '--peak_tflops=1',
      '--peak_gbps=10',
    )
  )
  assert line['benchmark'] == 'sampler'
  assert line['workload']['group_size'] == 3
  seconds = line['seconds']
  assert 0 < seconds['min'] <= seconds['median'] <= seconds['max'] < line['first_call_s']
  assert line['tunix']['version'] == '7'
  ratio = line['tokens_per_s'] / line['tunix']['tokens_per_s']
  assert line['ratio'] == pytest.approx(ratio, rel=2e-3)
  assert line['peak_rss_mb'] > 5 * line['tunix']['peak_rss_mb']
  assert 0 < line['mfu'] < 1 and 0 < line['bandwidth_fraction'] < 10
  assert line['device'].startswith('cpu') and line['jax'] == jax.__version__


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize('name', BENCHMARKS)
def test_every_command_prints_one_json_line(name):
  line = the_line(command(f'experiments.bench.{name}', '--model=tiny', '--repeats=1'))
  assert line['benchmark'] == name
  assert line['workload']['model']['dim'] == 16


def test_a_benchmark_that_a_peer_lacks_is_refused_with_those_that_it_has():
  with pytest.raises(harness.Failed, match=r'no compile_time of tunix.*grpo_step'):
    harness.theirs('tunix', 'compile_time', workload.tiny(), sys.executable)


def test_a_missing_peer_is_explained_with_the_command_that_installs_it(tmp_path):
  with pytest.raises(harness.Failed, match=r'(?s)does not exist.*pip install google-tunix'):
    harness.theirs('tunix', 'sampler', workload.tiny(), str(tmp_path / 'python'))


def test_a_misspelt_size_is_refused():
  done = command('experiments.bench.sampler', '--model=tiny', '--workload.group_sise=3')
  assert done.returncode
  assert 'group_sise' in done.stderr


def fake(tmp_path, name, body):
  """The command of a process that answers like a benchmark and writes its name into a log."""
  code = f"""
import sys
sys.path.insert(0, {str(REPOSITORY)!r})
from experiments.bench.peers.serve import serve
def run():
  print('not for the harness')
  with open({str(tmp_path / 'log')!r}, 'a') as log:
    log.write({name!r})
  {body}
  return {{'tokens': 10}}
serve(lambda: (run, {{}}))
"""
  return [sys.executable, '-c', code]


def test_two_processes_take_turns_after_each_has_warmed_up(tmp_path):
  commands = {name: fake(tmp_path, name, '') for name in 'ab'}
  with harness.measured(commands, repeats=3, warmup=1) as processes:
    found = {name: harness.summary(process) for name, process in processes.items()}
  assert (tmp_path / 'log').read_text() == 'aabb' + 'ababab'
  assert [len(process.repeats) for process in processes.values()] == [3, 3]
  assert found['a']['seconds']['min'] <= found['a']['seconds']['median']


def test_a_process_that_fails_is_reported_with_the_end_of_its_output(tmp_path):
  commands = {'a': fake(tmp_path, 'a', "raise OSError('no such accelerator')")}
  with (
    pytest.raises(harness.Failed, match='no such accelerator'),
    harness.measured(commands, repeats=1, warmup=0),
  ):
    pass


def test_peak_memory_is_of_the_process_itself():
  code = 'from experiments.bench.peers import serve; print(serve.peak_rss_mb())'
  ballast = np.ones(50_000_000)  # 400 MB here must not count there
  done = subprocess.run(
    [sys.executable, '-c', code], cwd=REPOSITORY, capture_output=True, text=True, check=True
  )
  assert float(done.stdout) < 200 < ballast.nbytes / 1e6 < serve.peak_rss_mb()


PACKAGES = {'tunix': ['tunix'], 'trl': ['trl'], 'hf': ['transformers', 'torch']}


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize(
  'script',
  sorted(p for name in PACKAGES for p in harness.SCRIPTS.glob(f'{name}_*.py')),
  ids=lambda p: p.stem,
)
def test_peers_do_the_work_of_the_workload(script, small):
  peer, _, name = script.stem.partition('_')
  for package in PACKAGES[peer]:
    pytest.importorskip(package)
  arguments = [sys.executable, str(script), small.to_json()]
  with harness.measured({peer: arguments}, repeats=1, warmup=0) as processes:
    assert processes[peer].repeats[0]['tokens'] == TOKENS[name]
