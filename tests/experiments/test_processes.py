"""One run in two processes: equal to one process, saved by a signal to either, ended by a death."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from experiments import processes
from experiments.errors import UserError
from experiments.logs import read_metrics
from rljax.checkpoints import restore_params

REPOSITORY = pathlib.Path(__file__).parents[2]
SECONDS = 60  # in which the survivor of a job has to end


@pytest.mark.parametrize(
  'given, message',
  [
    (('host:1', 2, None), '--process_id is missing'),
    ((None, 2, 0), '--coordinator is missing'),
    (('host:1', 2, 2), r'must be in \[0, 2\)'),
    (('host', 2, 0), 'expected host:port'),
  ],
)
def test_half_a_description_of_the_job_is_refused(given, message):
  with pytest.raises(UserError, match=message):
    processes.connect(*given)


def test_a_process_that_no_launcher_started_is_alone():
  code = """
import jax
from experiments import processes
processes.connect(None, None, None)
assert jax.process_count() == 1 and processes.is_first()
assert processes.largest(3) == 3
assert processes.on_first(lambda: {'a': 1}) == {'a': 1}
"""
  # A process of its own, as JAX connects before its first computation or never.
  subprocess.run([sys.executable, '-c', code], check=True, cwd=REPOSITORY)


def start(workdir, index=None, port=None, flags=()):
  """One process of a tiny run on two devices: the only one with both, or one of two."""
  env = {**os.environ, 'JAX_PLATFORMS': 'cpu', 'JAX_NUM_CPU_DEVICES': '2' if port is None else '1'}
  command = [sys.executable, '-m', 'experiments.train', '--config=configs/quickstart.py', '--tiny']
  command += [f'--workdir={workdir}', '--config.mesh.fsdp=2', *flags]
  if port is not None:
    command += [f'--coordinator=127.0.0.1:{port}', '--num_processes=2', f'--process_id={index}']
  return subprocess.Popen(
    command,
    cwd=REPOSITORY,
    env=env,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    text=True,
  )


def start_two(workdir, *flags):
  with socket.socket() as listener:
    listener.bind(('127.0.0.1', 0))
    port = listener.getsockname()[1]
  return [start(workdir, index, port, flags) for index in (0, 1)]


def finish(jobs):
  for job in jobs:
    _, errors = job.communicate(timeout=600)
    assert job.returncode == 0, errors


def wait_for(jobs, workdir, phase):
  """Returns once a phase has logged a step."""
  for _ in range(6000):
    if read_metrics(workdir).get(phase):
      return
    for job in jobs:
      assert job.poll() is None, job.communicate()[1]
    time.sleep(0.1)
  raise AssertionError(f'{phase} has not begun.')


def assert_equal_runs(found, expected, **tolerance):
  records, wanted = read_metrics(found), read_metrics(expected)
  assert list(records) == list(wanted)
  for phase in wanted:
    assert [r['step'] for r in records[phase]] == [r['step'] for r in wanted[phase]]
    for a, b in zip(records[phase], wanted[phase], strict=True):
      for name in a.keys() - {'phase', 'tokens/s'}:
        if not name.startswith('seconds/'):
          np.testing.assert_allclose(a[name], b[name], err_msg=f'{phase}/{name}', **tolerance)
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, **tolerance),
    jax.device_get(restore_params(found)),
    jax.device_get(restore_params(expected)),
  )
  for name in ('samples.jsonl', 'config.json'):
    assert (found / name).read_bytes() == (expected / name).read_bytes()


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('processes') / 'two'
  finish(start_two(workdir))
  return workdir


@pytest.mark.nightly
@pytest.mark.slow
def test_two_processes_train_like_one(undisturbed, tmp_path):
  finish([start(tmp_path / 'one')])
  assert_equal_runs(undisturbed, tmp_path / 'one', rtol=1e-5, atol=1e-5)
  for name in ('summary.json', 'plots/reward.png', 'tensorboard/rl'):
    assert (undisturbed / name).exists()


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize('killed', [0, 1])
def test_signals_and_deaths_end_all_and_the_restart_ends_like_the_undisturbed_run(
  undisturbed, tmp_path, killed
):
  workdir = tmp_path / 'run'

  jobs = start_two(workdir)
  wait_for(jobs, workdir, 'warm_start')
  jobs[1 - killed].send_signal(signal.SIGTERM)
  for job in jobs:
    _, errors = job.communicate(timeout=300)
    assert job.returncode == 128 + signal.SIGTERM, errors
    assert 'the same command continues from there' in errors

  jobs = start_two(workdir)
  wait_for(jobs, workdir, 'rl')
  jobs[killed].kill()
  since = time.monotonic()
  _, errors = jobs[1 - killed].communicate(timeout=2 * SECONDS)
  assert time.monotonic() - since < SECONDS
  assert jobs[1 - killed].returncode not in (0, None)
  assert 'another process of this job has ended' in errors or 'another task died' in errors
  jobs[killed].communicate()

  finish(start_two(workdir))
  assert_equal_runs(workdir, undisturbed, rtol=0, atol=0)
