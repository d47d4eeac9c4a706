"""Checkpoints that will not do are refused in words before any compute; nothing is overwritten."""

import dataclasses
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import slow_decoder

from rljax import models, training
from rljax.models import huggingface, rope
from rljax.models.huggingface import tensors, writing

NAME = 'qwen2'


@pytest.fixture
def folder(tmp_path):
  """A whole checkpoint."""
  fields = slow_decoder.fields(NAME)
  rewrite(tmp_path / 'model', fields, slow_decoder.tensors(fields))
  return tmp_path / 'model'


def rewrite(folder, fields, weights):
  folder.mkdir(exist_ok=True)
  (folder / 'config.json').write_text(json.dumps(fields))
  table = {n: (x.dtype, x.shape, lambda x=x: x) for n, x in weights.items()}
  tensors.write(folder / 'model.safetensors', table)


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'model_type': 'gpt2'}, "'gpt2' is not supported; the supported families are llama, mistral"),
    ({'model_type': None}, 'model_type None'),
    ({'residual_multiplier': 0.2}, 'residual_multiplier = 0.2 is not supported'),
    ({'partial_rotary_factor': 0.5}, r'partial_rotary_factor = 0.5 .* \(only 1 is\)'),
    ({'attention_dropout': 0.1}, 'attention_dropout = 0.1'),
    ({'quantization_config': {'bits': 4}}, 'quantization_config'),
    ({'auto_map': {'AutoModel': 'code.Model'}}, 'auto_map'),
    ({'mlp_bias': True}, 'mlp_bias = True'),
    ({'hidden_act': 'relu'}, "activation 'relu'"),
    ({'hidden_size': None}, 'lacks hidden_size'),
    ({'head_dim': None, 'num_attention_heads': 6, 'num_key_value_heads': 2}, 'does not divide'),
    ({'layer_types': ['full_attention']}, 'layer_types has 1 entries for 2 layers'),
    ({'layer_types': ['full_attention', 'mamba']}, r"layer_types holds \['mamba'\]"),
    ({'layer_types': ['full_attention', 'sliding_attention']}, 'sliding_window is None'),
    ({'rope_scaling': {'type': 'dynamic', 'factor': 2}}, "'dynamic' is not supported"),
    ({'rope_scaling': {'type': 'longrope'}}, "'longrope' is not supported"),
    ({'rope_scaling': {'type': 'yarn'}}, "lacks 'original_max_position_embeddings'"),
    ({'rope_scaling': {'type': 'linear'}}, "'linear' of config.json lacks 'factor'"),
    ({'rope_scaling': {'type': 'linear', 'factor': 2, 'mscale': 1}}, r"\['mscale'\]"),
    ({'rope_parameters': {'rope_type': 'default', 'mrope_section': [1]}}, 'mrope_section'),
    ({'rope_parameters': {'partial_rotary_factor': 0.5}}, 'partial_rotary_factor'),
  ],
)
def test_a_field_that_means_something_else_is_named(change, message, folder):
  fields = {**slow_decoder.fields(NAME), **change}
  rewrite(folder, fields, {})
  with pytest.raises(ValueError, match=message) as error:
    huggingface.read_config(folder)
  assert str(folder) in str(error.value)


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'attn_logit_softcapping': 50.0}, 'attn_logit_softcapping = 50.0'),
    ({'use_bidirectional_attention': True}, 'use_bidirectional_attention = True'),
    ({'rope_parameters': {'rope_type': 'default'}}, r"rope_parameters holds \['rope_type'\]"),
    (
      {'rope_parameters': {'sliding_attention': {'rope_type': 'linear', 'factor': 2.0}}},
      'sliding_attention ask for Linear',
    ),
  ],
)
def test_fields_of_gemma_3_that_are_not_done_are_named(change, message):
  with pytest.raises(ValueError, match=message):
    huggingface.config_of({**slow_decoder.fields('gemma3'), **change})


def test_fields_of_no_effect_and_neutral_values_are_passed_over():
  fields = slow_decoder.fields(NAME)
  more = {'attention_dropout': 0.0, 'use_cache': False, 'architectures': ['A'], 'use_mrope': False}
  assert huggingface.config_of({**fields, **more}) == huggingface.config_of(fields)


def test_yarn_takes_its_magnitude_from_mscale():
  stretch = {**slow_decoder.YARN, 'mscale': 2.0, 'mscale_all_dim': 1.0}
  fields = {**slow_decoder.fields(NAME), 'rope_scaling': stretch}
  scaling = huggingface.config_of(fields).rope_scaling
  assert rope.magnitude(scaling) == pytest.approx((1 + 0.2 * np.log(4)) / (1 + 0.1 * np.log(4)))


def change_weights(folder, change):
  fields = slow_decoder.fields(NAME)
  rewrite(folder, fields, change(slow_decoder.tensors(fields)))


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (
      lambda w: {k: v for k, v in w.items() if k != 'model.norm.weight'},
      'model.norm.weight .* is missing',
    ),
    (lambda w: {**w, 'model.norm.bias': np.ones(3)}, 'model.norm.bias has no place'),
    (lambda w: {**w, 'model.norm.weight': np.ones(3)}, r'norm.weight has shape \[3\]; .* \[16\]'),
    (
      lambda w: {**w, 'lm_head.weight': w['model.embed_tokens.weight'] + 1},
      'tie_word_embeddings is true, but lm_head.weight is another',
    ),
  ],
)
def test_tensors_that_do_not_fit_are_named(change, message, folder):
  change_weights(folder, change)
  with pytest.raises(ValueError, match=message) as error:
    huggingface.load(folder)
  assert str(folder) in str(error.value)


def test_a_stored_copy_of_the_tied_head_and_old_buffers_are_passed_over(folder):
  _, plain = huggingface.load(folder)
  change_weights(
    folder,
    lambda w: {
      **w,
      'lm_head.weight': w['model.embed_tokens.weight'],
      'model.layers.0.self_attn.rotary_emb.inv_freq': np.ones(4),
    },
  )
  jax.tree.map(np.testing.assert_array_equal, huggingface.load(folder)[1], plain)


def test_a_type_that_is_no_float_is_named(folder):
  file = folder / 'model.safetensors'
  data = file.read_bytes()
  assert data.count(b'"F32"') > 1
  file.write_bytes(data.replace(b'"F32"', b'"I32"', 1))
  with pytest.raises(ValueError, match=r'embed_tokens.weight has type I32; weights of F64, F32'):
    huggingface.load(folder)


@pytest.mark.parametrize('kept', [0, 5, 100, -1])
def test_a_file_that_is_cut_off_is_noticed_before_it_is_read(kept, folder):
  file = folder / 'model.safetensors'
  file.write_bytes(file.read_bytes()[:kept])
  with pytest.raises(ValueError, match='cut off'):
    huggingface.load(folder)


def test_a_header_that_lies_is_noticed(folder):
  file = folder / 'model.safetensors'
  data = file.read_bytes()
  file.write_bytes(data.replace(b'[28, 16]', b'[28, 17]', 1))
  with pytest.raises(ValueError, match=r'of shape \[28, 17\] and type F32 takes 1904 bytes'):
    huggingface.load(folder)
  file.write_bytes(data.replace(b'{"__', b'["__', 1))
  with pytest.raises(ValueError, match='cannot be read'):
    huggingface.load(folder)


def test_missing_files_are_named(folder, tmp_path):
  with pytest.raises(FileNotFoundError, match=r'no folder .*nowhere, and it is no hub id'):
    huggingface.load(tmp_path / 'nowhere')
  (folder / 'model.safetensors').rename(folder / 'pytorch_model.bin')
  with pytest.raises(FileNotFoundError, match='pickled weights are not read'):
    huggingface.load(folder)
  (folder / 'config.json').unlink()
  with pytest.raises(FileNotFoundError, match='no config'):
    huggingface.load(folder)
  assert not huggingface.is_checkpoint(folder)


def test_an_index_that_does_not_fit_is_explained(folder, tmp_path):
  config, params = huggingface.load(folder)
  out = tmp_path / 'shards'
  huggingface.save(out, config, params, max_shard_bytes=5000)
  index = out / 'model.safetensors.index.json'
  content = json.loads(index.read_text())
  first = min(content['weight_map'].values())
  (out / first).rename(out / 'elsewhere')
  with pytest.raises(FileNotFoundError, match=f'{first} is missing'):
    huggingface.load(out)
  (out / 'elsewhere').rename(out / first)
  index.write_text(json.dumps({'weight_map': {**content['weight_map'], 'ghost': first}}))
  with pytest.raises(ValueError, match='names ghost, which is in none'):
    huggingface.load(out)
  index.write_text(json.dumps({'weight_map': {'a': '../model.safetensors'}}))
  with pytest.raises(ValueError, match='no file of its own folder'):
    huggingface.load(out)


def test_a_hub_id_without_a_connection_is_explained(monkeypatch):
  hub = pytest.importorskip('huggingface_hub')

  def unreachable(*args, **kwargs):
    raise ConnectionError('no route')

  monkeypatch.setattr(hub, 'snapshot_download', unreachable)
  with pytest.raises(FileNotFoundError, match=r'could not be fetched from the hub .*no route'):
    huggingface.read_config('owner/name')


def test_a_hub_id_without_the_library_names_the_extra(monkeypatch):
  monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
  with pytest.raises(FileNotFoundError, match=r'rljax\[hf\]'):
    huggingface.read_config('owner/name')


def test_a_mesh_that_does_not_divide_is_named(folder):
  config = huggingface.read_config(folder)
  mesh = training.sharding.make_mesh(tensor=4)
  with pytest.raises(ValueError, match='has 2 kv_heads, which do not divide'):
    training.sharding.params(models.specs(config), mesh)


def test_nothing_is_written_over_and_nothing_is_left_half_done(folder, tmp_path, monkeypatch):
  config, params = huggingface.load(folder)
  with pytest.raises(FileExistsError, match='not an empty folder'):
    huggingface.save(folder, config, params)
  out = tmp_path / 'deep' / 'out'
  monkeypatch.setattr(writing, '_write_json', lambda *_: 1 / 0)
  with pytest.raises(ZeroDivisionError):
    huggingface.save(out, config, params)
  assert not list(out.parent.iterdir())
  monkeypatch.undo()
  out.mkdir()
  huggingface.save(out, config, params)  # an empty folder is as good as none
  assert sorted(file.name for file in out.iterdir()) == ['config.json', 'model.safetensors']
  assert [each.name for each in out.parent.iterdir()] == ['out']


def test_companions_and_token_ids_are_taken_over(folder, tmp_path):
  fields = json.loads((folder / 'config.json').read_text())
  more = {'eos_token_id': [3, 4], 'max_position_embeddings': 77, 'transformers_version': '4.0'}
  (folder / 'config.json').write_text(json.dumps({**fields, **more}))
  (folder / 'generation_config.json').write_text('{"eos_token_id": 3}')
  (folder / 'tokenizer.json').write_text('{}')
  config, params = huggingface.load(folder)
  out = tmp_path / 'out'
  huggingface.save(out, config, params, like=folder, fields={'bos_token_id': 5})
  written = json.loads((out / 'config.json').read_text())
  assert written['eos_token_id'] == [3, 4] and written['bos_token_id'] == 5
  assert written['max_position_embeddings'] == 77 and 'transformers_version' not in written
  assert (out / 'generation_config.json').read_text() == '{"eos_token_id": 3}'
  assert (out / 'tokenizer.json').exists()
  with pytest.raises(ValueError, match='Field hidden_size follows from the config'):
    huggingface.save(tmp_path / 'other', config, params, fields={'hidden_size': 3})


def test_parameters_of_another_config_are_not_saved(folder, tmp_path):
  config, params = huggingface.load(folder)
  wider = dataclasses.replace(config, ff_dim=24)
  with pytest.raises(ValueError, match=r"'down'\W* has shape .*; the config asks for"):
    huggingface.save(tmp_path / 'out', wider, params)
  with pytest.raises(ValueError, match=r"\['more'\] are not part"):
    huggingface.save(tmp_path / 'out', config, {**params, 'more': jnp.zeros(2)})
  with pytest.raises(ValueError, match='would be stored as int32'):
    huggingface.save(tmp_path / 'out', config, params, dtype='int32')
  assert not (tmp_path / 'out').exists()


def test_a_decoder_that_no_family_has_is_not_saved(folder, tmp_path):
  config, params = huggingface.load(folder)
  odd = dataclasses.replace(config, embedding_scale=2.0)
  with pytest.raises(ValueError, match='No family of llama'):
    huggingface.save(tmp_path / 'out', odd, params)


def test_the_format_is_that_of_the_safetensors_library(folder, tmp_path):
  library = pytest.importorskip('safetensors.numpy')
  fields = slow_decoder.fields(NAME)
  weights = slow_decoder.tensors(fields)
  ours = library.load_file(folder / 'model.safetensors')
  assert ours.keys() == weights.keys()
  library.save_file(weights, tmp_path / 'theirs.safetensors')
  theirs = tensors.read_table(tmp_path / 'theirs.safetensors')
  for name, x in weights.items():
    np.testing.assert_array_equal(ours[name], x)
    np.testing.assert_array_equal(theirs[name].open(), x)
