"""The run directory: what it accepts, what it refuses, and what a kill or a full disk leaves."""

import errno
import json
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest
from ml_collections import ConfigDict

from experiments import run_dir
from experiments.errors import RunError, UserError
from experiments.run_dir import JsonLines, RunDir

REPOSITORY = pathlib.Path(__file__).parents[2]


def make_config(**changes):
  config = ConfigDict(
    {
      'seed': 0,
      'task': 'sum',
      'method_kwargs': {'clip': 0.2, 'bound': float('inf'), 'ends': (1, 2)},
      'rl': {'steps': 40, 'prompts': 8},
      'eval': {'every': 10, 'problems': 16},
      'checkpoint': {'every': 5},
      'log': {'samples': 2},
    }
  )
  config.update_from_flattened_dict(changes)
  return config.lock()


def contents(directory):
  return {
    str(path.relative_to(directory)): path.read_bytes()
    for path in directory.rglob('*')
    if path.is_file() and path.name != 'lock'
  }


def test_starts_then_continues_the_same_config(tmp_path):
  with RunDir(tmp_path / 'a' / 'run', make_config()) as run:
    assert not run.continued and run.workdir == tmp_path / 'a' / 'run'
    assert run.summary() is None
  with RunDir(tmp_path / 'a' / 'run', make_config(), resume='must') as run:
    assert run.continued
  assert sorted(path.name for path in run.workdir.iterdir()) == ['config.json', 'lock']


def test_the_config_comes_back_as_it_was(tmp_path):
  with RunDir(tmp_path, make_config()):
    pass
  loaded = run_dir.load_config(tmp_path)
  assert loaded.to_dict() == make_config().to_dict()
  assert loaded.is_locked
  with pytest.raises(FileNotFoundError, match='holds no run'):
    run_dir.load_config(tmp_path / 'elsewhere')


def test_never_and_must_change_nothing_where_they_do_not_apply(tmp_path):
  with pytest.raises(UserError, match='no run to continue'):
    RunDir(tmp_path / 'new', make_config(), resume='must')
  assert not (tmp_path / 'new').exists()
  with RunDir(tmp_path / 'old', make_config()):
    pass
  before = contents(tmp_path / 'old')
  with pytest.raises(UserError, match='already holds a run'):
    RunDir(tmp_path / 'old', make_config(), resume='never')
  assert contents(tmp_path / 'old') == before
  with pytest.raises(UserError, match="must be 'auto', 'never' or 'must', got 'maybe'"):
    RunDir(tmp_path / 'old', make_config(), resume='maybe')
  (tmp_path / 'half' / 'checkpoints').mkdir(parents=True)
  with pytest.raises(UserError, match=r'holds checkpoints but no config\.json'):
    RunDir(tmp_path / 'half', make_config())


def test_another_config_is_refused_with_every_difference(tmp_path):
  with RunDir(tmp_path, make_config()):
    pass
  before = contents(tmp_path)
  other = make_config(**{'seed': 1, 'rl.steps': 80, 'method_kwargs.ends': (1, 3)})
  with other.unlocked():
    del other.task
    other.extra = True
  with pytest.raises(UserError) as error:
    RunDir(tmp_path, other)
  lines = str(error.value).split('\n')
  assert lines[1:-1] == [
    '  extra: (absent) there, true now',
    '  method_kwargs.ends: [1, 2] there, [1, 3] now',
    '  rl.steps: 40 there, 80 now',
    '  seed: 0 there, 1 now',
    '  task: "sum" there, (absent) now',
  ]
  assert '--workdir' in lines[-1]
  assert contents(tmp_path) == before
  with RunDir(tmp_path, make_config()):
    pass  # the refused one has let go of the lock


def test_what_changes_no_result_may_change_and_is_recorded(tmp_path):
  with RunDir(tmp_path, make_config()):
    pass
  changes = {'checkpoint.every': 1, 'log.samples': 0, 'eval.every': 0}
  with RunDir(tmp_path, make_config(**changes)) as run:
    assert run.continued
  assert run_dir.load_config(tmp_path).checkpoint.every == 1
  with pytest.raises(UserError, match=r'eval\.problems'):
    RunDir(tmp_path, make_config(**{'eval.problems': 3}))


def test_places_that_cannot_be_written(tmp_path, monkeypatch):
  (tmp_path / 'file').write_text('')
  with pytest.raises(UserError, match='Cannot write to the run directory'):
    RunDir(tmp_path / 'file' / 'run', make_config())

  def read_only(path, flags, *args, **kwargs):
    if flags & os.O_CREAT:
      raise OSError(errno.EROFS, 'Read-only file system', str(path))
    return os_open(path, flags, *args, **kwargs)

  os_open = os.open
  monkeypatch.setattr(os, 'open', read_only)
  with pytest.raises(UserError, match='Read-only file system'):
    RunDir(tmp_path / 'run', make_config())


def test_too_little_space_is_found_before_anything_is_written(tmp_path):
  with pytest.raises(UserError, match=r'has .* MB free, and the run needs about 1,000,000,000'):
    RunDir(tmp_path, make_config(), need_bytes=10**15)
  assert not (tmp_path / 'config.json').exists()


def test_two_processes_cannot_write_one_directory(tmp_path):
  with (
    RunDir(tmp_path, make_config()),
    pytest.raises(UserError, match=f'pid {os.getpid()}'),
  ):
    RunDir(tmp_path, make_config())
  with RunDir(tmp_path, make_config()) as run:
    assert run.continued


@pytest.mark.slow
def test_a_killed_process_leaves_no_lock(tmp_path):
  code = (
    'import sys, time\n'
    'from tests.experiments.test_run_dir import RunDir, make_config\n'
    'run = RunDir(sys.argv[1], make_config())\n'
    'print("ready", flush=True)\n'
    'time.sleep(60)\n'
  )
  process = subprocess.Popen(
    [sys.executable, '-c', code, str(tmp_path)], stdout=subprocess.PIPE, cwd=REPOSITORY
  )
  try:
    assert process.stdout.readline() == b'ready\n'
    with pytest.raises(UserError, match=f'pid {process.pid}'):
      RunDir(tmp_path, make_config())
  finally:
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
  with RunDir(tmp_path, make_config()) as run:
    assert run.continued


def test_a_damaged_config_is_named(tmp_path):
  (tmp_path / 'config.json').write_text('{"seed":')
  with pytest.raises(UserError, match=r'config\.json cannot be read'):
    RunDir(tmp_path, make_config())


def test_summary_says_what_it_was_made_with(tmp_path):
  with RunDir(tmp_path, make_config()) as run:
    run.write_summary({'accuracy': 0.5})
    summary = run.summary()
  assert summary['accuracy'] == 0.5
  made_with = summary['environment']
  assert {'python', 'rljax', 'commit', 'jax', 'jaxlib', 'flax', 'optax', 'numpy'} <= set(made_with)
  assert made_with['orbax-checkpoint'] and made_with['device'] == 'cpu'
  assert made_with['devices'] == 4 and made_with['host_cores'] >= 1


def test_a_commit_is_that_of_the_checkout_of_rljax_or_none(monkeypatch, tmp_path):
  def git(*arguments):
    identity = ['-c', 'user.name=n', '-c', 'user.email=e']
    subprocess.run(['git', '-C', str(tmp_path), *identity, *arguments], check=True)

  git('init', '--quiet')
  package = tmp_path / 'rljax' / '__init__.py'
  monkeypatch.setattr(run_dir.rljax, '__file__', str(package))
  assert run_dir.environment()['commit'] is None
  git('commit', '--quiet', '--allow-empty', '--message', 'm')
  assert len(run_dir.environment()['commit']) == 40
  installed = tmp_path / 'site-packages' / 'rljax' / '__init__.py'
  installed.parent.mkdir(parents=True)
  monkeypatch.setattr(run_dir.rljax, '__file__', str(installed))
  assert run_dir.environment()['commit'] is None


def test_atomic_write_keeps_the_old_file_when_it_fails(tmp_path, monkeypatch):
  file = tmp_path / 'summary.json'
  run_dir.atomic_write_json(file, {'a': 1})
  assert json.loads(file.read_text()) == {'a': 1}

  def full(*args):
    raise OSError(errno.ENOSPC, 'No space left on device')

  monkeypatch.setattr(os, 'fsync', full)
  with pytest.raises(RunError, match=r'No space left on device.*checkpoint .*is safe\. Free space'):
    run_dir.atomic_write_json(file, {'a': 2})
  assert json.loads(file.read_text()) == {'a': 1}
  assert [path.name for path in tmp_path.iterdir()] == ['summary.json']


def records(path):
  return list(run_dir.read_json_lines(path))


def test_a_log_is_strict_json_and_cut_back_to_an_offset(tmp_path):
  path = tmp_path / 'log.jsonl'
  log = JsonLines(path)
  log.write({'x': 1.5, 'bad': [float('nan'), float('-inf')], 'text': 'ä\n['})
  offset = log.offset()
  log.write({'x': np.float32(2.0), 'rows': np.array([1.0, np.nan])})
  log.close()
  assert records(path) == [
    {'x': 1.5, 'bad': [None, None], 'text': 'ä\n['},
    {'x': 2.0, 'rows': [1.0, None]},
  ]
  log = JsonLines(path)
  log.truncate(offset)
  log.write({'x': 3.0})
  log.close()
  assert [record['x'] for record in records(path)] == [1.5, 3.0]


def test_a_torn_last_line_is_cut_on_opening_and_not_read(tmp_path):
  path = tmp_path / 'log.jsonl'
  path.write_bytes(b'{"x": 1}\n{"x": 2}\n{"x": ' + b'3' * 100_000)
  assert records(path) == [{'x': 1}, {'x': 2}]
  log = JsonLines(path)
  log.write({'x': 4})
  log.close()
  assert records(path) == [{'x': 1}, {'x': 2}, {'x': 4}]
  (tmp_path / 'torn').write_bytes(b'{"x"')
  JsonLines(tmp_path / 'torn').close()
  assert (tmp_path / 'torn').read_bytes() == b''
  assert records(tmp_path / 'nothing') == []


def test_a_log_that_something_else_changed_is_not_cut(tmp_path):
  path = tmp_path / 'log.jsonl'
  log = JsonLines(path)
  log.write({'x': 1})
  for offset in (log.offset() + 1, log.offset() - 1):
    with pytest.raises(RunError, match='is not the file that the checkpoint knew'):
      log.truncate(offset)
  log.close()
  assert records(path) == [{'x': 1}]


def test_a_full_disk_takes_the_half_written_line_back(tmp_path, monkeypatch):
  path = tmp_path / 'log.jsonl'
  log = JsonLines(path)
  log.write({'x': 1})
  write, calls = os.write, []

  def full(descriptor, line):
    calls.append(line)
    if len(calls) == 1:
      return write(descriptor, line[:3])
    raise OSError(errno.ENOSPC, 'No space left on device')

  monkeypatch.setattr(os, 'write', full)
  with pytest.raises(RunError) as error:
    log.write({'x': 2})
  for part in (str(path), 'No space left', 'checkpoint of the run is safe', 'same command'):
    assert part in str(error.value)
  monkeypatch.undo()
  log.write({'x': 3})
  log.close()
  assert records(path) == [{'x': 1}, {'x': 3}]
