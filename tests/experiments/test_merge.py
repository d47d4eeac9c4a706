"""The command that merges a model with what training made of it, on tiny checkpoints."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from configs import quickstart
from experiments import cli, merge
from experiments.errors import UserError
from experiments.sft import sft
from rljax import data, merging, models
from rljax.models import huggingface

REPOSITORY = pathlib.Path(__file__).parents[2]
CONFIG = models.DecoderConfig(
  vocab_size=20, dim=16, num_layers=2, num_heads=2, num_kv_heads=1, head_dim=8, ff_dim=24
)


def draw(seed):
  return models.init(jax.random.key(seed), models.specs(CONFIG))


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
  """Two checkpoints of one model, the second with a tokenizer."""
  root = tmp_path_factory.mktemp('merge')
  base = draw(0)
  tuned = jax.tree.map(lambda a, b: a + 0.1 * b, base, draw(1))
  tokenizer = data.files_of(data.CharTokenizer('0123456789+='))
  huggingface.save(root / 'base', CONFIG, base)
  huggingface.save(root / 'tuned', CONFIG, tuned, files=tokenizer, fields={'eos_token_id': 0})
  return root, base, tuned


def test_the_command_writes_a_checkpoint(folders, tmp_path):
  root, base, tuned = folders
  out = tmp_path / 'out'
  arguments = (f'--base={root}/base', f'--tuned={root}/tuned', f'--out={out}', '--keep=0.5')
  command = [sys.executable, '-m', 'experiments.merge', *arguments]

  def run():
    return subprocess.run(
      command, cwd=REPOSITORY, env=os.environ, capture_output=True, text=True, timeout=300
    )

  done = run()
  assert done.returncode == 0, done.stderr
  assert str(out) in done.stdout
  config, found = huggingface.load(out)
  assert config == huggingface.read_config(root / 'base')
  expected = merging.update_selective_merge(base, tuned, keep=0.5)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-7), found, expected)
  moved = sum(
    int((a != b).sum()) for a, b in zip(*map(jax.tree.leaves, (found, base)), strict=True)
  )
  assert 0.45 < moved / sum(x.size for x in jax.tree.leaves(base)) <= 0.5
  assert (out / 'tokenizer.json').read_text() == (root / 'tuned/tokenizer.json').read_text()
  assert json.loads((out / 'config.json').read_text())['eos_token_id'] == 0
  assert data.PretrainedTokenizer(str(out)).eos == 0

  again = run()
  assert again.returncode == 2 and 'choose another place' in again.stderr
  assert 'Traceback' not in again.stderr


def test_each_tensor_of_each_layer_keeps_the_same_share(folders, tmp_path):
  root, base, _ = folders
  merge.merge(root / 'base', root / 'tuned', tmp_path / 'out', keep=0.25, per_tensor=True)
  _, found = huggingface.load(tmp_path / 'out')
  moved = jax.tree.map(lambda a, b: np.asarray(a != b), found, base)
  rest = [moved['embedding'], moved['final_norm']]
  for leaf in [*rest, *(layer for x in moved['layers'].values() for layer in x)]:
    assert leaf.sum() == leaf.size // 4


@pytest.mark.nightly
@pytest.mark.slow
def test_runs_are_merged_with_each_other_and_with_checkpoints(tmp_path):
  config = cli.settle(quickstart.get_config(), tiny=True)
  for name, steps in (('base', 2), ('tuned', 4)):
    config = config.copy_and_resolve_references()
    with config.unlocked():
      config.warm_start.steps = steps
      config.warm_start.optimizer.warmup_steps = 1
    sft(config, tmp_path / name)
  merge.merge(tmp_path / 'base', tmp_path / 'tuned', tmp_path / 'once', keep=1.0, scale=1.0)
  once, tuned = (merge.load(tmp_path / name) for name in ('once', 'tuned'))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), once.params, tuned.params)
  assert data.PretrainedTokenizer(str(tmp_path / 'once')).decode([2]) != ''
  merge.merge(tmp_path / 'once', tmp_path / 'tuned', tmp_path / 'twice')
  assert huggingface.is_checkpoint(tmp_path / 'twice')


def test_what_cannot_be_merged_is_said_in_words(folders, tmp_path):
  root, _, _ = folders
  wider = models.DecoderConfig(
    vocab_size=20, dim=16, num_layers=2, num_heads=2, num_kv_heads=1, head_dim=8, ff_dim=32
  )
  huggingface.save(tmp_path / 'wider', wider, models.init(jax.random.key(0), models.specs(wider)))
  with pytest.raises(UserError, match=r'ff_dim is 24 in .*base and 32 in .*wider'):
    merge.merge(root / 'base', tmp_path / 'wider', tmp_path / 'out')
  with pytest.raises(UserError, match='keep is a share'):
    merge.merge(root / 'base', root / 'tuned', tmp_path / 'out', keep=2.0)
  with pytest.raises(UserError, match='belongs to no run'):
    merge.merge(root / 'base', tmp_path / 'nothing', tmp_path / 'out')
  assert not (tmp_path / 'out').exists()
