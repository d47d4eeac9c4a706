"""Parity with transformers on tiny random checkpoints: logits, greedy continuations, both ways.

Needs torch and transformers, which the other tests do without.
"""

import functools
import os

os.environ.setdefault('HF_HUB_OFFLINE', '1')

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax import models, sampling
from rljax.models import huggingface

torch = pytest.importorskip('torch')
transformers = pytest.importorskip('transformers')
torch.set_num_threads(1)  # threads that wait for each other take longer than these sizes

SMALL = {
  'vocab_size': 67,
  'hidden_size': 32,
  'intermediate_size': 48,
  'num_hidden_layers': 2,
  'num_attention_heads': 4,
  'num_key_value_heads': 2,
  'pad_token_id': 0,
  'eos_token_id': 66,
  'bos_token_id': 1,
  'max_position_embeddings': 256,
}
LLAMA3 = {
  'rope_type': 'llama3',
  'rope_theta': 500.0,
  'factor': 8.0,
  'low_freq_factor': 1.0,
  'high_freq_factor': 4.0,
  'original_max_position_embeddings': 32,
}
LINEAR = {'rope_type': 'linear', 'rope_theta': 100.0, 'factor': 4.0}
YARN = {
  'rope_type': 'yarn',
  'rope_theta': 1000.0,
  'factor': 4.0,
  'original_max_position_embeddings': 64,
}
GEMMA = {'head_dim': 16, 'query_pre_attn_scalar': 24, 'sliding_window': 7}
CASES = {
  'llama': ('Llama', {}),
  'llama, biases, tied, one kv head': (
    'Llama',
    {
      'attention_bias': True,
      'mlp_bias': True,
      'tie_word_embeddings': True,
      'num_key_value_heads': 1,
      'head_dim': 12,
    },
  ),
  'llama 3.1': ('Llama', {'rope_parameters': LLAMA3}),
  'llama, linear': ('Llama', {'rope_parameters': LINEAR}),
  'mistral': ('Mistral', {'sliding_window': 9}),
  'qwen2': ('Qwen2', {'tie_word_embeddings': True}),
  'qwen2, windows': (
    'Qwen2',
    {'use_sliding_window': True, 'sliding_window': 5, 'max_window_layers': 1},
  ),
  'qwen2, yarn': ('Qwen2', {'rope_parameters': YARN}),
  'qwen3': ('Qwen3', {'head_dim': 16}),
  'qwen3, yarn, biases': (
    'Qwen3',
    {'head_dim': 16, 'attention_bias': True, 'rope_parameters': YARN},
  ),
  'gemma2': ('Gemma2', {**GEMMA, 'attn_logit_softcapping': 2.0, 'final_logit_softcapping': 5.0}),
  'gemma3': (
    'Gemma3Text',
    {
      **GEMMA,
      'layer_types': ['sliding_attention', 'full_attention'],
      'final_logit_softcapping': 5.0,
      'rope_parameters': {
        'full_attention': {'rope_type': 'linear', 'factor': 2.0, 'rope_theta': 1e6},
        'sliding_attention': {'rope_type': 'default', 'rope_theta': 100.0},
      },
    },
  ),
}
TOKENS = np.random.default_rng(0).integers(2, SMALL['vocab_size'] - 1, (3, 40))


@functools.cache
def reference(name):
  """The model in torch, with weights large enough that everything shows in the logits."""
  family, changes = CASES[name]
  config = getattr(transformers, f'{family}Config')(**{**SMALL, **changes})
  torch.manual_seed(0)
  model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation='eager').eval()
  center = 0.0 if family.startswith('Gemma') else 1.0
  with torch.no_grad():
    for key, weight in model.named_parameters():
      weight.copy_(torch.randn_like(weight) * 0.2 + (center if 'norm' in key else 0.0))
  return model


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  @functools.cache
  def of(name):
    path = tmp_path_factory.mktemp('checkpoint')
    reference(name).save_pretrained(path)
    return path

  return of


def torch_logits(model, tokens):
  """Logits of rows that may hold -1 for padding, with the positions that the mask gives."""
  mask = torch.tensor(tokens >= 0).long()
  positions = (mask.cumsum(-1) - 1).clamp(min=0)
  ids = torch.tensor(np.maximum(tokens, 0))
  with torch.no_grad():
    return model(ids, attention_mask=mask, position_ids=positions).logits.float().numpy()


def logits(config, params, tokens):
  apply = jax.jit(models.decoder(config).apply)
  return np.array(apply(params, tokens, models.token_positions(jnp.asarray(tokens)))[0])


@pytest.mark.parametrize('name', CASES)
def test_logits_equal_those_of_transformers(name, folder):
  config, params = huggingface.load(folder(name))
  tokens = TOKENS.copy()
  tokens[1, :9], tokens[2, -9:] = -1, -1
  wanted, found = torch_logits(reference(name), tokens), logits(config, params, tokens)
  assert wanted.std() > 0.5
  assert np.abs(found - wanted)[tokens >= 0].max() < 1e-4


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize('name', CASES)
def test_greedy_continuations_equal_those_of_transformers(name, folder):
  config, params = huggingface.load(folder(name))
  model = models.decoder(config)
  prompt = np.full((3, 12), -1)
  for row, n in enumerate([12, 5, 8]):
    prompt[row, 12 - n :] = TOKENS[row, :n]
  wanted = reference(name).generate(
    torch.tensor(np.where(prompt < 0, 0, prompt)),
    attention_mask=torch.tensor(prompt >= 0).long(),
    max_new_tokens=64,
    min_new_tokens=64,
    do_sample=False,
  )[:, 12:]

  def no_end(logits):  # transformers takes the end token out too, for min_new_tokens
    return sampling.greedy(logits.at[..., SMALL['eos_token_id']].set(-jnp.inf))

  draw = jax.jit(
    lambda params, prompt: sampling.sample(
      model,
      params,
      prompt,
      jax.random.key(0),
      group_size=1,
      max_new_tokens=64,
      eos=SMALL['eos_token_id'],
      warp=no_end,
    ).completion[:, 0]
  )
  through_cache = np.asarray(draw(params, prompt))
  np.testing.assert_array_equal(through_cache, wanted.numpy())
  # The same tokens are the likeliest of one pass over all, with the padding on the right.
  rows = np.full((3, 76), -1)
  for row, n in enumerate([12, 5, 8]):
    rows[row, : n + 64] = np.concatenate([TOKENS[row, :n], through_cache[row]])
  found = logits(config, params, rows)
  found[..., SMALL['eos_token_id']] = -np.inf
  for row, n in enumerate([12, 5, 8]):
    np.testing.assert_array_equal(found[row, n - 1 : n + 63].argmax(-1), through_cache[row])


@pytest.mark.parametrize('name', CASES)
def test_what_is_saved_is_loaded_by_transformers(name, folder, tmp_path):
  config, params = huggingface.load(folder(name))
  out = tmp_path / 'out'
  huggingface.save(out, config, params, like=folder(name), max_shard_bytes=20_000)
  assert (out / 'model.safetensors.index.json').exists()
  again, info = transformers.AutoModelForCausalLM.from_pretrained(
    out, attn_implementation='eager', output_loading_info=True
  )
  assert not any(info[key] for key in ('missing_keys', 'unexpected_keys', 'mismatched_keys'))
  assert type(again) is type(reference(name))
  np.testing.assert_array_equal(
    torch_logits(again.eval(), TOKENS), torch_logits(reference(name), TOKENS)
  )
  assert again.config.eos_token_id == SMALL['eos_token_id']
  assert again.config.max_position_embeddings == 256


@pytest.mark.parametrize('name', ['llama 3.1', 'qwen2', 'gemma3'])
def test_bfloat16_comes_as_close_as_in_torch(name, folder, tmp_path):
  half = transformers.AutoModelForCausalLM.from_pretrained(folder(name), dtype=torch.bfloat16)
  half.save_pretrained(tmp_path / 'half')
  config, params = huggingface.load(tmp_path / 'half')
  assert config.dtype == 'bfloat16'
  in_torch = torch_logits(half.eval(), TOKENS)
  wide = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / 'half', dtype=torch.float32)
  exact = torch_logits(wide.eval(), TOKENS)
  found = logits(config, params, TOKENS)
  scale = np.abs(exact).max()
  assert np.abs(found - exact).max() / scale < 0.1
  assert np.abs(found - exact).mean() < 1.2 * np.abs(in_torch - exact).mean()
  config, params = huggingface.load(tmp_path / 'half', dtype='float32')
  assert np.abs(logits(config, params, TOKENS) - exact).max() < 1e-4


def test_a_quickstart_decoder_is_a_llama(tmp_path):
  config = models.DecoderConfig(
    vocab_size=33, dim=32, num_layers=2, num_heads=4, num_kv_heads=2, head_dim=16, ff_dim=64
  )
  params = models.init(jax.random.key(0), models.specs(config))
  huggingface.save(tmp_path / 'out', config, params)
  model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / 'out').eval()
  assert model.config.model_type == 'llama'
  tokens = TOKENS % 33
  assert np.abs(torch_logits(model, tokens) - logits(config, params, tokens)).max() < 1e-4
