"""Every Hugging Face family against plain float64 loops: padded, through the cache, sharded."""

import dataclasses
import functools
import importlib
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import slow_decoder

from rljax import models, sampling, training
from rljax.models import huggingface
from rljax.models.huggingface import tensors

# `rljax.models.decoder` is the function; the module of that name is needed to move its threshold.
decoder_module = importlib.import_module('rljax.models.decoder')

LENGTH = 12
TOKENS = np.random.default_rng(1).integers(0, slow_decoder.SIZES['vocab_size'], (3, LENGTH))


def write(folder, fields, weights):
  folder.mkdir(exist_ok=True)
  (folder / 'config.json').write_text(json.dumps(fields))
  table = {n: (x.dtype, x.shape, lambda x=x: x) for n, x in weights.items()}
  tensors.write(folder / 'model.safetensors', table)
  return folder


@functools.cache
def expected(name):
  """Logits of the loops for the rows of TOKENS."""
  fields = slow_decoder.fields(name)
  weights = slow_decoder.tensors(fields)
  return np.array([slow_decoder.logits(fields, weights, row) for row in TOKENS])


@pytest.fixture
def checkpoint(tmp_path):
  def make(name):
    fields = slow_decoder.fields(name)
    return write(tmp_path / 'checkpoint', fields, slow_decoder.tensors(fields))

  return make


def positions_of(tokens):
  return np.where(tokens >= 0, np.cumsum(tokens >= 0, axis=-1) - 1, -1)


def same(found, wanted):
  np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * max(1, np.abs(wanted).max()))


@pytest.mark.parametrize('name', slow_decoder.FAMILIES)
def test_logits_equal_plain_loops(name, checkpoint):
  config, params = huggingface.load(checkpoint(name))
  apply = jax.jit(models.decoder(config).apply)
  # Rows of different lengths, padded on the left, on the right and between: one program for all.
  lengths = [LENGTH, LENGTH - 3, LENGTH - 5]
  tokens = np.full((3, LENGTH), -1)
  for row, n in enumerate(lengths):
    left = (LENGTH - n) // (row or 1)
    tokens[row, left : left + n] = TOKENS[row, :n]
  found = np.asarray(apply(params, tokens, positions_of(tokens))[0])
  assert expected(name).std() > 0.1
  for row, n in enumerate(lengths):
    same(found[row][tokens[row] >= 0], expected(name)[row, :n])


@pytest.mark.parametrize('layers_in', ['program', 'loop'])
@pytest.mark.parametrize('name', ['llama 3.1', 'qwen2, windows', 'gemma2', 'gemma3'])
def test_the_cache_gives_the_logits_of_plain_loops(name, layers_in, checkpoint, monkeypatch):
  if layers_in == 'loop':
    monkeypatch.setattr(decoder_module, '_UNROLL_CACHED', 0)
  config, params = huggingface.load(checkpoint(name))
  model = models.decoder(config)
  apply = jax.jit(model.apply)
  lengths, width = [7, 3, 5], 7
  tokens = np.full((3, width), -1)
  for row, n in enumerate(lengths):
    tokens[row, width - n :] = TOKENS[row, :n]
  found, cache = apply(params, tokens, positions_of(tokens), model.init_cache(3, width + 6))
  for row, n in enumerate(lengths):
    same(found[row, width - n :], expected(name)[row, :n])
  for t in range(5):
    at = np.array(lengths) + t
    found, cache = apply(params, TOKENS[np.arange(3), at][:, None], at[:, None], cache)
    same(found[:, 0], expected(name)[np.arange(3), at])


@pytest.mark.nightly
@pytest.mark.slow
def test_a_loop_over_layers_draws_what_the_unrolled_program_draws(checkpoint, monkeypatch):
  config, params = huggingface.load(checkpoint('gemma3'))
  prompt = jnp.asarray(np.where(np.arange(8)[None] < [[3], [0]], -1, TOKENS[:2, :8]))
  drawn = []
  for limit in (0, config.num_layers):
    monkeypatch.setattr(decoder_module, '_UNROLL_CACHED', limit)
    model = models.decoder(config)
    assert isinstance(model.init_cache(1, 1).keys, tuple) == (limit > 0)
    draw = jax.jit(
      functools.partial(sampling.sample, model, group_size=3, max_new_tokens=70, eos=0)
    )
    drawn.append(draw(params, prompt, jax.random.key(0)))
  np.testing.assert_array_equal(drawn[0].completion, drawn[1].completion)
  np.testing.assert_allclose(drawn[0].logp, drawn[1].logp, rtol=0, atol=1e-5)
  assert len(np.unique(drawn[0].completion)) > 5


def deep_step(layers):
  """A decoding step of a deep model, as a function and its arguments."""
  config = models.DecoderConfig(
    vocab_size=16, dim=8, num_layers=layers, num_heads=2, num_kv_heads=1, head_dim=4, ff_dim=8
  )
  model = models.decoder(config)
  params = model.unstack(models.init(jax.random.key(0), model.specs))
  cache = model.init_cache(2, 24)
  return model.apply, (params, jnp.zeros((2, 1), jnp.int32), jnp.zeros((2, 1), jnp.int32), cache)


@pytest.mark.nightly
@pytest.mark.slow
def test_the_program_of_a_decoding_step_does_not_grow_with_the_depth():
  def equations(layers):
    apply, arguments = deep_step(layers)
    return str(jax.make_jaxpr(apply)(*arguments)).count('\n')

  assert equations(10) == equations(40) < equations(8)


def test_a_decoding_step_of_a_deep_model_updates_its_cache_in_place():
  apply, arguments = deep_step(12)
  whole = arguments[-1].keys.shape
  text = jax.jit(apply, donate_argnums=3).lower(*arguments).compile().as_text()
  shape = ','.join(map(str, whole))
  assert f'f32[{shape}]' in text
  assert not re.search(rf'= f32\[{shape}\]\S* copy\(', text)


@pytest.mark.parametrize('name', ['qwen3, biases, yarn', 'gemma3'])
def test_unrolled_layers_equal_scanned_ones(name, checkpoint, monkeypatch):
  config, params = huggingface.load(checkpoint(name))
  found = []
  for limit in (0, config.num_layers):
    monkeypatch.setattr(decoder_module, '_UNROLL_LAYERS', limit)
    apply = jax.jit(models.decoder(config).apply)
    found.append(apply(params, TOKENS, positions_of(TOKENS))[0])
  same(found[0], expected(name))
  np.testing.assert_allclose(found[0], found[1], rtol=0, atol=1e-5)


@pytest.mark.parametrize('name', slow_decoder.FAMILIES)
def test_what_is_saved_is_loaded_again_bit_by_bit(name, checkpoint, tmp_path):
  source = checkpoint(name)
  config, params = huggingface.load(source)
  huggingface.save(tmp_path / 'out', config, params, max_shard_bytes=5000)
  before = tensors.read_table(source / 'model.safetensors')
  after = {}
  for file in (tmp_path / 'out').glob('*.safetensors'):
    after |= tensors.read_table(file)
  assert len(list((tmp_path / 'out').glob('*.safetensors'))) > 1
  assert before.keys() == after.keys()
  for key in before:
    np.testing.assert_array_equal(before[key].open(), after[key].open())
  again, again_params = huggingface.load(tmp_path / 'out')
  apply = jax.jit(models.decoder(again).apply)
  same(apply(again_params, TOKENS, positions_of(TOKENS))[0], expected(name))


@pytest.mark.parametrize('name', slow_decoder.FAMILIES)
def test_loading_onto_a_mesh_equals_loading_onto_one_device(name, checkpoint):
  fields = slow_decoder.fields(name)
  source = checkpoint(name)
  config = huggingface.read_config(source)
  tensor = fields['num_key_value_heads']
  mesh = training.sharding.make_mesh(data=1, fsdp=4 // tensor, tensor=tensor)
  shardings = training.sharding.params(models.specs(config), mesh)
  _, sharded = huggingface.load(source, shardings=shardings)
  _, single = huggingface.load(source)
  jax.tree.map(np.testing.assert_array_equal, sharded, single)
  wanted = jax.tree.leaves(shardings)
  assert [leaf.sharding for leaf in jax.tree.leaves(sharded)] == wanted
  assert any(
    len({str(s.index) for s in x.addressable_shards}) > 1 for x in jax.tree.leaves(sharded)
  )


def test_both_ways_of_writing_rope_give_one_config():
  old = slow_decoder.fields('llama 3.1')
  new = {k: v for k, v in old.items() if k not in ('rope_theta', 'rope_scaling')}
  new['rope_parameters'] = {**slow_decoder.LLAMA3, 'rope_theta': old['rope_theta']}
  assert huggingface.config_of(new) == huggingface.config_of(old)
  old = slow_decoder.fields('gemma3')
  dropped = ('rope_theta', 'rope_scaling', 'rope_local_base_freq')
  new = {k: v for k, v in old.items() if k not in dropped}
  new['rope_parameters'] = {
    'full_attention': {**old['rope_scaling'], 'rope_theta': 1e6},
    'sliding_attention': {'rope_type': 'default', 'rope_theta': 100.0},
  }
  assert huggingface.config_of(new) == huggingface.config_of(old)
  assert huggingface.config_of(new).local_rope_theta == 100.0


def test_bfloat16_checkpoints_keep_their_type_and_come_close(checkpoint, tmp_path):
  name = 'gemma3'
  fields = {**slow_decoder.fields(name), 'torch_dtype': 'bfloat16'}
  weights = {n: x.astype(jnp.bfloat16) for n, x in slow_decoder.tensors(fields).items()}
  source = write(tmp_path / 'half', fields, weights)
  config, params = huggingface.load(source)
  assert config.dtype == 'bfloat16'
  assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(jnp.bfloat16)}
  wide_config, wide = huggingface.load(source, dtype='float32')
  assert wide_config.dtype == 'float32'
  jax.tree.map(lambda a, b: np.testing.assert_array_equal(a.astype(b.dtype), b), params, wide)
  exact = jax.jit(models.decoder(wide_config).apply)(wide, TOKENS, positions_of(TOKENS))[0]
  rounded = jax.jit(models.decoder(config).apply)(params, TOKENS, positions_of(TOKENS))[0]
  assert rounded.dtype == jnp.float32
  assert 1e-4 < np.abs(rounded - exact).max() / np.abs(exact).max() < 0.1
  huggingface.save(tmp_path / 'wide', config, params, dtype='float32')
  assert huggingface.read_config(tmp_path / 'wide').dtype == 'float32'
  jax.tree.map(np.testing.assert_array_equal, huggingface.load(tmp_path / 'wide')[1], wide)


@pytest.mark.nightly
@pytest.mark.slow
def test_remat_changes_the_memory_of_the_backward_pass_and_not_its_result(checkpoint):
  config, params = huggingface.load(checkpoint('qwen2, windows'))
  # Stacked a few times over: what is kept grows with the depth, what is remade does not.
  deep = dataclasses.replace(config, num_layers=6, windows=(4, 0) * 3)
  layers = jax.tree.map(lambda x: jnp.tile(x, (3,) + (1,) * (x.ndim - 1)), params['layers'])
  params = {**params, 'layers': layers}

  def compiled(remat):
    model = models.decoder(dataclasses.replace(deep, remat=remat))

    def loss(params):
      found = model.apply(params, TOKENS, positions_of(TOKENS))[0]
      return jax.nn.log_softmax(found)[..., 0].sum()

    return jax.jit(jax.grad(loss)).lower(params).compile()

  programs = {remat: compiled(remat) for remat in ('none', 'dots', 'full')}
  bytes_of = {k: p.memory_analysis().temp_size_in_bytes for k, p in programs.items()}
  assert bytes_of['full'] < bytes_of['dots'] < bytes_of['none']
  kept = programs['none'](params)
  assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(kept))
  for remat in ('dots', 'full'):
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(a).max()),
      kept,
      programs[remat](params),
    )
