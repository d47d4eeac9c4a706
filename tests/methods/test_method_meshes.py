"""Rows over a mesh of 2 x 2 x 2 devices: the loss and gradient of one device, every method."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
from harness import all_cases

WORKER = pathlib.Path(__file__).with_name('method_meshes_worker.py')
TESTS = WORKER.parents[1]
PARTS = 4


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize('part', range(PARTS))
def test_a_mesh_of_eight_gives_the_loss_and_gradient_of_one_device(tmp_path, part):
  path = os.pathsep.join(map(str, (TESTS.parent, TESTS)))
  done = subprocess.run(
    [sys.executable, str(WORKER), str(tmp_path / 'out.json'), str(part), str(PARTS)],
    env={**os.environ, 'PYTHONPATH': path},
    stderr=subprocess.PIPE,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  found = json.loads((tmp_path / 'out.json').read_text())
  assert set(found) == set(list(all_cases())[part::PARTS])
  assert not {name: what for name, what in found.items() if what}
