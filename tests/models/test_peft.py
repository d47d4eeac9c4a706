"""Adapters that leave for PEFT: the same logits there, on the same base in transformers."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax import models
from rljax.models import lora
from rljax.models.peft import save_adapter

CONFIG = models.DecoderConfig(
  vocab_size=13,
  dim=16,
  num_layers=2,
  num_heads=4,
  num_kv_heads=2,
  head_dim=6,
  ff_dim=20,
  rope_theta=100.0,
  tied=False,
)
MODEL = models.decoder(CONFIG)
TOKENS = np.random.default_rng(0).integers(0, CONFIG.vocab_size, (2, 9)).astype(np.int32)


def adapter_of(targets=('*',)):
  rng = np.random.default_rng(2)
  return jax.tree.map(
    lambda spec: jnp.float32(0.3 * rng.normal(size=spec.shape)),
    lora.specs(MODEL.specs, rank=3, targets=targets),
    is_leaf=lambda x: isinstance(x, models.Spec),
  )


def in_transformers(params):
  """The decoder's plain parameters in transformers' Llama."""
  torch, transformers = pytest.importorskip('torch'), pytest.importorskip('transformers')
  llama = transformers.LlamaForCausalLM(
    transformers.LlamaConfig(
      vocab_size=CONFIG.vocab_size,
      hidden_size=CONFIG.dim,
      intermediate_size=CONFIG.ff_dim,
      num_hidden_layers=CONFIG.num_layers,
      num_attention_heads=CONFIG.num_heads,
      num_key_value_heads=CONFIG.num_kv_heads,
      head_dim=CONFIG.head_dim,
      rms_norm_eps=CONFIG.norm_eps,
      rope_parameters={'rope_type': 'default', 'rope_theta': CONFIG.rope_theta},
      tie_word_embeddings=False,
    )
  )
  p = jax.tree.map(np.array, params)
  state = {
    'model.embed_tokens.weight': p['embedding'],
    'model.norm.weight': p['final_norm'],
    'lm_head.weight': p['head'],
  }
  for n in range(CONFIG.num_layers):
    w = {name: leaf[n] for name, leaf in p['layers'].items()}
    d, key_value, gate_up = CONFIG.dim, w['key_value'], w['gate_up']
    layer = {
      'input_layernorm': w['attention_norm'],
      'post_attention_layernorm': w['ff_norm'],
      'self_attn.q_proj': w['query'].reshape(d, -1).T,
      'self_attn.k_proj': key_value[:, 0].reshape(d, -1).T,
      'self_attn.v_proj': key_value[:, 1].reshape(d, -1).T,
      'self_attn.o_proj': w['attention_out'].reshape(-1, d).T,
      'mlp.gate_proj': gate_up[:, 0].T,
      'mlp.up_proj': gate_up[:, 1].T,
      'mlp.down_proj': w['down'].T,
    }
    state |= {f'model.layers.{n}.{name}.weight': value for name, value in layer.items()}
  tensors = {name: torch.tensor(np.ascontiguousarray(value)) for name, value in state.items()}
  llama.load_state_dict(tensors, strict=True)
  return llama.eval()


def logits_there(model):
  torch = pytest.importorskip('torch')
  with torch.no_grad():
    return model(torch.tensor(TOKENS, dtype=torch.long)).logits.numpy()


def logits_here(params):
  return MODEL.apply(params, TOKENS, models.token_positions(TOKENS), None)[0]


@pytest.mark.parametrize('targets', [('*',), ('layers/query', 'layers/gate_up')])
def test_peft_computes_the_logits_of_the_adapter(targets, tmp_path):
  peft = pytest.importorskip('peft')
  base, adapter = models.init(jax.random.key(0), MODEL.specs), adapter_of(targets)
  expected = logits_here(lora.join(base, adapter, alpha=5.0))
  llama = in_transformers(base)
  np.testing.assert_allclose(logits_there(llama), logits_here(base), atol=1e-5)
  save_adapter(tmp_path / 'adapter', adapter, alpha=5.0, base='the/base')
  loaded = peft.PeftModel.from_pretrained(llama, tmp_path / 'adapter').eval()
  assert {name for name, x in loaded.named_parameters() if 'lora' in name and not x.any()} == set()
  np.testing.assert_allclose(logits_there(loaded), expected, atol=1e-5)
  assert np.abs(expected - logits_here(base)).max() > 0.1


def test_merged_parameters_are_an_ordinary_export(tmp_path):
  joined = lora.join(models.init(jax.random.key(0), MODEL.specs), adapter_of(), alpha=5.0)
  llama = in_transformers(lora.merge(joined))
  np.testing.assert_allclose(logits_there(llama), logits_here(joined), atol=1e-5)


def test_the_directory_names_its_modules(tmp_path):
  pytest.importorskip('safetensors')
  save_adapter(tmp_path, adapter_of(['layers/key_value', 'layers/down']), alpha=8.0, base='b')
  config = json.loads((tmp_path / 'adapter_config.json').read_text())
  assert (config['r'], config['lora_alpha'], config['base_model_name_or_path']) == (3, 8.0, 'b')
  assert sorted(config['target_modules']) == ['down_proj', 'k_proj', 'v_proj']
