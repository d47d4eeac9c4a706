"""Adapters that leave for PEFT: the same logits there, on the exported base in transformers."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax import models
from rljax.models import huggingface, lora

LLAMA = models.DecoderConfig(
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
CONFIGS = {
  'llama': LLAMA,
  'qwen2': dataclasses.replace(LLAMA, qkv_bias=True, head_dim=4),
  'qwen3': dataclasses.replace(LLAMA, qk_norm=True),
}
TOKENS = np.random.default_rng(0).integers(0, LLAMA.vocab_size, (2, 9)).astype(np.int32)


def random(specs, scale):
  rng = np.random.default_rng(2)
  return jax.tree.map(
    lambda spec: jnp.float32(scale * rng.normal(size=spec.shape)),
    specs,
    is_leaf=lambda x: isinstance(x, models.Spec),
  )


def parts_of(kind, targets=('*',)):
  """Model, base (random biases and norms too) and a trained adapter."""
  model = models.decoder(CONFIGS[kind])
  adapter = random(lora.specs(model.specs, rank=3, targets=targets), 0.3)
  return model, random(model.specs, 0.3), adapter


def logits_here(model, params):
  return jax.jit(model.apply)(params, TOKENS, models.token_positions(TOKENS), None)[0]


def logits_there(module):
  import torch

  with torch.no_grad():
    return module.eval()(torch.tensor(TOKENS, dtype=torch.long)).logits.numpy()


def in_transformers(path, kind, params):
  pytest.importorskip('torch')
  transformers = pytest.importorskip('transformers')
  huggingface.save(path, CONFIGS[kind], params)
  module = transformers.AutoModelForCausalLM.from_pretrained(path)
  assert module.config.model_type == kind
  return module


@pytest.mark.slow
@pytest.mark.parametrize(
  'kind, targets',
  [(kind, ('*',)) for kind in CONFIGS] + [('llama', ('layers/key', 'layers/value', 'layers/down'))],
)
def test_peft_computes_the_logits_of_the_adapter(kind, targets, tmp_path):
  peft = pytest.importorskip('peft')
  model, base, adapter = parts_of(kind, targets)
  expected = logits_here(model, lora.join(base, adapter, alpha=5.0))
  module = in_transformers(tmp_path / 'base', kind, base)
  np.testing.assert_allclose(logits_there(module), logits_here(model, base), atol=1e-4)
  huggingface.save_adapter(tmp_path / 'adapter', adapter, alpha=5.0)
  module = peft.PeftModel.from_pretrained(module, tmp_path / 'adapter')
  loaded = {name: x for name, x in module.named_parameters() if 'lora_' in name}
  assert len(loaded) == 2 * 2 * (7 if targets == ('*',) else 3)
  assert all(x.any() for x in loaded.values())
  np.testing.assert_allclose(logits_there(module), expected, atol=1e-4)
  assert np.abs(expected - logits_here(model, base)).max() > 0.1


@pytest.mark.slow
def test_merged_parameters_are_an_ordinary_checkpoint(tmp_path):
  model, base, adapter = parts_of('llama')
  joined = lora.join(base, adapter, alpha=5.0)
  module = in_transformers(tmp_path / 'merged', 'llama', lora.merge(joined))
  np.testing.assert_allclose(logits_there(module), logits_here(model, joined), atol=1e-4)


def test_the_directory_names_what_it_holds(tmp_path):
  _, _, adapter = parts_of('llama', ['layers/key', 'layers/value', 'layers/down'])
  huggingface.save_adapter(tmp_path, adapter, alpha=8.0, base='the/base')
  config = json.loads((tmp_path / 'adapter_config.json').read_text())
  assert (config['r'], config['lora_alpha']) == (3, 8.0)
  assert config['base_model_name_or_path'] == 'the/base'
  assert sorted(config['target_modules']) == ['down_proj', 'k_proj', 'v_proj']
  safetensors = pytest.importorskip('safetensors.numpy')
  tensors = safetensors.load_file(tmp_path / 'adapter_model.safetensors')
  assert len(tensors) == 2 * 2 * 3
  value = 'base_model.model.model.layers.1.self_attn.v_proj.lora_{}.weight'
  factors = adapter['layers']['value']
  np.testing.assert_array_equal(tensors[value.format('A')], factors['a'][1].T)
  np.testing.assert_array_equal(tensors[value.format('B')], factors['b'][1].reshape(3, -1).T)
