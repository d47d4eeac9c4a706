"""Training, evaluation, sampling and export of a pretrained model, a tiny one made here."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

from configs import quickstart
from experiments import build, cli
from experiments.errors import UserError
from experiments.evaluate import evaluate
from experiments.export import export
from experiments.sft import sft
from experiments.train import train
from rljax import data, models
from rljax.models import huggingface

os.environ.setdefault('HF_HUB_OFFLINE', '1')
tokenizers = pytest.importorskip('tokenizers')
transformers = pytest.importorskip('transformers')

REPOSITORY = pathlib.Path(__file__).parents[2]
TEMPLATE = '{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}<|assistant|>'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """A Qwen2 with a byte-level BPE tokenizer."""
  path = tmp_path_factory.mktemp('pretrained') / 'model'
  tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
  tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
  tokenizer.decoder = tokenizers.decoders.ByteLevel()
  trainer = tokenizers.trainers.BpeTrainer(
    vocab_size=280,
    special_tokens=['<|pad|>', '<|end|>', '<|user|>', '<|assistant|>'],
    initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
  )
  tokenizer.train_from_iterator(['carry 1', 'carries'] * 3, trainer)
  wrapped = transformers.PreTrainedTokenizerFast(
    tokenizer_object=tokenizer, eos_token='<|end|>', pad_token='<|pad|>', chat_template=TEMPLATE
  )
  config = models.DecoderConfig(
    vocab_size=300,  # more than the tokenizer has
    dim=32,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    ff_dim=48,
    qkv_bias=True,
  )
  params = models.init(jax.random.key(0), models.specs(config))
  ids = {'eos_token_id': 1, 'pad_token_id': 0, 'max_position_embeddings': 128}
  huggingface.save(path, config, params, fields=ids)
  wrapped.save_pretrained(path)
  (path / 'generation_config.json').write_text('{"eos_token_id": 1}')
  return path


def settings(folder, **changes):
  config = cli.settle(quickstart.get_config(), tiny=True)
  with config.unlocked():
    config.model.path = str(folder)
    config.warm_start.steps = 4
    config.warm_start.optimizer.warmup_steps = 1
    config.rl.steps = 2
    config.rl.max_new_tokens = 40
    config.update_from_flattened_dict(changes)
  return config


@pytest.fixture(scope='module')
def trained(folder, tmp_path_factory):
  config = settings(folder)
  workdir = tmp_path_factory.mktemp('runs') / 'run'
  return config, workdir, train(config, workdir)


def test_the_tokenizer_has_the_interface_of_the_character_tokenizer(folder):
  tokenizer = data.PretrainedTokenizer(str(folder))
  assert tokenizer.eos == 1 and 260 < tokenizer.vocab_size <= 280
  assert len(tokenizer.encode('carry')) < 5  # the merges are there
  ids = tokenizer.encode('12+34=')
  assert ids.dtype == np.int32
  assert tokenizer.decode(ids) == '12+34='
  np.testing.assert_array_equal(tokenizer.encode_prompt('12+34='), ids)
  assert tokenizer.decode([*ids, 1, *ids]) == '12+34='  # up to the end token
  assert tokenizer.decode([*ids, -1, -1]) == '12+34='  # or padding
  assert tokenizer.decode([0, *ids]) == '<|pad|>12+34='
  assert tokenizer.decode([299, *ids, 290, *ids]) == '\N{REPLACEMENT CHARACTER}12+34=' * 2
  assert tokenizer.decode([]) == ''
  assert len(tokenizer.encode_prompt('9' * 20)) <= tokenizer.max_tokens(20)
  with pytest.raises(ValueError, match='below -1'):
    tokenizer.decode([-2])
  with pytest.raises(ValueError, match=r'needs integers \[T\]'):
    tokenizer.decode([[1, 2]])


def test_the_words_make_up_the_text(folder):
  tokenizer = data.PretrainedTokenizer(str(folder))
  words = tokenizer.words()
  assert len(words) == tokenizer.vocab_size and words[1] == b'' and words[0] == b'<|pad|>'
  text = '12 + 34 = carry\n\N{MINUS SIGN}'
  assert b''.join(words[i] for i in tokenizer.encode(text)) == text.encode()


def test_every_end_token_of_the_checkpoint_ends_a_completion(folder, tmp_path):
  shutil.copytree(folder, tmp_path / 'copy')
  assert data.PretrainedTokenizer(str(folder)).stops == (1,)
  (tmp_path / 'copy' / 'generation_config.json').write_text('{"eos_token_id": [3, 1]}')
  tokenizer = data.PretrainedTokenizer(str(tmp_path / 'copy'))
  assert tokenizer.stops == (1, 3)
  ids = tokenizer.encode('12')
  assert tokenizer.decode([*ids, 3, *ids]) == '12'
  (tmp_path / 'copy' / 'generation_config.json').write_text('{')
  with pytest.raises(ValueError, match=r'generation_config\.json is not JSON'):
    _ = data.PretrainedTokenizer(str(tmp_path / 'copy')).stops


def test_a_chat_is_written_by_the_template(folder):
  tokenizer = data.PretrainedTokenizer(str(folder))
  ids = tokenizer.chat([{'role': 'user', 'content': '1+2='}])
  assert tokenizer.decode(ids) == '<|user|>1+2=<|assistant|>'
  assert ids[0] == 2 and ids[-1] == 3


def test_a_start_token_is_put_before_a_prompt_and_no_end_token_after(folder, tmp_path):
  tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
  tokenizer.backend_tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
    single='<|pad|> $A <|end|>', special_tokens=[('<|pad|>', 0), ('<|end|>', 1)]
  )
  tokenizer.chat_template = None
  tokenizer.save_pretrained(tmp_path)
  tokenizer = data.PretrainedTokenizer(str(tmp_path))
  plain = tokenizer.encode('12+34=')
  np.testing.assert_array_equal(tokenizer.encode_prompt('12+34='), [0, *plain])
  assert len(tokenizer.encode_prompt('7' * 9)) <= tokenizer.max_tokens(9)
  with pytest.raises(ValueError, match='no chat template'):
    tokenizer.chat([{'role': 'user', 'content': '1'}])


def test_a_folder_without_a_tokenizer_is_named(tmp_path):
  with pytest.raises(ValueError, match=f'tokenizer of {tmp_path} cannot be read'):
    data.PretrainedTokenizer(str(tmp_path))


def test_a_run_starts_from_the_pretrained_weights(folder):
  parts = build.check(settings(folder))
  _, params = huggingface.load(folder)
  jax.tree.map(np.testing.assert_array_equal, build.initial_params(parts, 3), params)
  assert parts.decoder.qkv_bias and parts.decoder.vocab_size == 300
  half = build.check(settings(folder, **{'model.param_dtype': 'bfloat16'}))
  assert build.initial_params(half, 3)['embedding'].dtype == 'bfloat16'


@pytest.mark.nightly
@pytest.mark.slow
def test_training_changes_the_weights_and_export_gives_them_out(folder, trained, tmp_path):
  config, workdir, summary = trained
  assert summary['steps'] == {'warm_start': 4, 'rl': 2}
  export(config, workdir, tmp_path / 'out')
  exported, params = huggingface.load(tmp_path / 'out')
  assert exported == huggingface.read_config(folder)
  policy = build.load_params(build.check(config), workdir)
  jax.tree.map(np.testing.assert_array_equal, params, policy)
  assert np.abs(params['embedding'] - huggingface.load(folder)[1]['embedding']).max() > 1e-4
  for name in ('tokenizer.json', 'generation_config.json', 'chat_template.jinja'):
    assert (tmp_path / 'out' / name).read_text() == (folder / name).read_text()
  written = json.loads((tmp_path / 'out' / 'config.json').read_text())
  assert written['eos_token_id'] == 1 and written['max_position_embeddings'] == 128
  # The exported folder is where a run can start again.
  metrics = evaluate(settings(tmp_path / 'out'), None)
  assert metrics == evaluate(config, workdir)
  with pytest.raises(UserError, match='not an empty folder'):
    export(config, workdir, tmp_path / 'out')


@pytest.mark.slow
def test_transformers_loads_the_export_and_computes_the_same(trained, tmp_path):
  torch = pytest.importorskip('torch')
  config, workdir, _ = trained
  export(config, workdir, tmp_path / 'out')
  model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / 'out').eval()
  parts = build.check(config)
  tokens = parts.tokenizer.encode('12+34=46;1,2,3')[None]
  with torch.no_grad():
    wanted = model(torch.tensor(tokens).long()).logits.numpy()
  params = build.load_params(parts, workdir)
  found = parts.model.apply(params, tokens, models.token_positions(tokens))[0]
  assert type(model).__name__ == 'Qwen2ForCausalLM'
  np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)


def test_a_run_of_characters_is_exported_with_its_tokenizer(tmp_path):
  config = cli.settle(quickstart.get_config(), tiny=True)
  with config.unlocked():
    config.warm_start.steps = 2
    config.warm_start.optimizer.warmup_steps = 1
  sft(config, tmp_path / 'run')
  export(config, tmp_path / 'run', tmp_path / 'out', 'bfloat16')
  ours = build.check(config).tokenizer
  theirs = data.PretrainedTokenizer(str(tmp_path / 'out'))
  assert (theirs.eos, theirs.vocab_size) == (ours.eos, ours.vocab_size)
  text = ours.alphabet[::-1]
  np.testing.assert_array_equal(theirs.encode(text), ours.encode(text))
  assert theirs.decode(ours.encode(text)) == text
  exported, params = huggingface.load(tmp_path / 'out')
  assert exported.dtype == 'bfloat16' and exported.vocab_size == ours.vocab_size
  policy = build.load_params(build.check(config), tmp_path / 'run')
  assert (params['embedding'] == policy['embedding'].astype('bfloat16')).all()


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'init': 'FOLDER'}, 'is a Hugging Face checkpoint, .* --config.model.path='),
    ({'mesh.tensor': 4}, 'has 2 kv_heads, which do not divide'),
    ({'model.remat': 'some'}, "remat is 'some'"),
  ],
)
def test_what_does_not_fit_is_said_before_the_run(changes, message, folder):
  changes = {k: str(folder) if v == 'FOLDER' else v for k, v in changes.items()}
  with pytest.raises(UserError, match=message):
    build.check(settings(folder, **changes))


def test_without_checkpoint_and_pretrained_model_there_is_no_policy():
  with pytest.raises(
    UserError, match=r'--checkpoint, or a pretrained model as --config.model.path'
  ):
    evaluate(cli.settle(quickstart.get_config(), tiny=True), None)


@pytest.mark.nightly
@pytest.mark.slow
def test_commands_take_a_pretrained_model(folder, tmp_path):
  config = ('--config=configs/quickstart.py', '--tiny', f'--config.model.path={folder}')
  length = '--config.rl.max_new_tokens=40'
  runs = {
    'sample': ('--prompt=12+34=', '--samples=2', length),
    'evaluate': (f'--output={tmp_path}/metrics.json', length),
    'export': (f'--output={tmp_path}/out', length),
    'train': ('--dry_run', length),
  }
  for module, arguments in runs.items():
    done = subprocess.run(
      [sys.executable, '-m', f'experiments.{module}', *config, *arguments],
      cwd=REPOSITORY,
      env=os.environ,
      capture_output=True,
      text=True,
      timeout=300,
      check=False,
    )
    assert done.returncode == 0, done.stderr
    if module == 'sample':
      assert [line[:6] for line in done.stdout.splitlines() if line.startswith('12')] == [
        '12+34='
      ] * 2
  assert (tmp_path / 'out' / 'tokenizer.json').exists()
  assert json.loads((tmp_path / 'metrics.json').read_text())['greedy_length'] > 0
