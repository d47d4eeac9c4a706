"""Eight devices, in one process or two, give the losses, gradients and checkpoints of one."""

import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest

WORKER = pathlib.Path(__file__).with_name('mesh_worker.py')
ROOT = pathlib.Path(__file__).parents[2]


def start(out, mesh, *options):
  env = {**os.environ, 'PYTHONPATH': str(ROOT)}
  command = [sys.executable, str(WORKER), str(out), '--mesh', *map(str, mesh), *map(str, options)]
  return subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)


def finish(process, out):
  _, errors = process.communicate(timeout=300)
  assert process.returncode == 0, errors
  return np.load(out)


def free_port():
  with socket.socket() as listener:
    listener.bind(('127.0.0.1', 0))
    return listener.getsockname()[1]


def assert_equal(found, expected, metrics=slice(None)):
  assert set(found) == set(expected)
  for name in expected:
    wanted = expected[name][metrics] if name.startswith('metric/') else expected[name]
    np.testing.assert_allclose(found[name], wanted, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.fixture(scope='module')
def one_device(tmp_path_factory):
  out = tmp_path_factory.mktemp('meshes') / 'one.npz'
  found = finish(start(out, (1, 1, 1), '--devices', 1), out)
  assert max(np.abs(found[name]).max() for name in found if name.startswith('grad/')) > 1e-3
  assert np.abs(np.diff(found['metric/loss'])).max() > 1e-3
  return found


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize('mesh', [(8, 1, 1), (2, 2, 2), (1, 4, 2)])
def test_eight_devices_give_the_twenty_steps_of_one(one_device, tmp_path, mesh):
  out = tmp_path / 'out.npz'
  assert_equal(finish(start(out, mesh), out), one_device)


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize('mesh', [(2, 2, 2), (1, 4, 2)])
def test_two_processes_of_four_devices_give_the_twenty_steps_of_one(one_device, tmp_path, mesh):
  out = tmp_path / 'out.npz'
  options = ('--devices', 4, '--port', free_port(), '--process')
  other = start(tmp_path / 'other.npz', mesh, *options, 1)
  found = finish(start(out, mesh, *options, 0), out)
  _, errors = other.communicate(timeout=60)
  assert other.returncode == 0, errors
  assert_equal(found, one_device)


@pytest.mark.nightly
@pytest.mark.slow
def test_a_checkpoint_of_one_mesh_goes_on_on_another(one_device, tmp_path):
  saved, out = tmp_path / 'checkpoints', tmp_path / 'out.npz'
  finish(start(out, (2, 2, 2), '--steps', 5, '--save', saved), out)
  next_losses = []
  for number, mesh in enumerate([(2, 2, 2), (1, 4, 2), (8, 1, 1)]):
    out = tmp_path / f'{number}.npz'
    found = finish(start(out, mesh, '--steps', 1, '--restore', saved), out)
    next_losses.append(found['metric/loss'][0])
    np.testing.assert_allclose(found['metric/loss'], one_device['metric/loss'][5:6], atol=1e-5)
  np.testing.assert_allclose(next_losses, next_losses[0], rtol=0, atol=1e-6)
