"""What each family of `config.json` means beyond its sizes, and what its fields default to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from rljax.models.config import DecoderConfig
from rljax.models.huggingface.rope_fields import read_rope

_GLOBAL, _LOCAL = 'full_attention', 'sliding_attention'


class Family(NamedTuple):
  """How one `model_type` is read and written.

  Attributes:
    architecture: class name in transformers.
    defaults: what its fields are when `config.json` leaves them out.
    read: fields, complete -> what a `DecoderConfig` has beyond the sizes.
    write: `DecoderConfig` -> the fields that `read` reads.
  """

  architecture: str
  defaults: Mapping[str, Any]
  read: Callable[[Mapping[str, Any]], dict[str, Any]]
  write: Callable[[DecoderConfig], dict[str, Any]]


def _rope(full):
  stretch = full.get('rope_scaling') or full.get('rope_parameters') or {}
  return read_rope(stretch, full, full['rope_theta'])


def _windows(full, layer_types, window):
  """The window of each layer from the name of its type."""
  unknown = set(layer_types) - {_GLOBAL, _LOCAL}
  if unknown:
    raise ValueError(
      f'layer_types holds {sorted(unknown)}; supported are {_GLOBAL!r} and {_LOCAL!r}.'
    )
  if len(layer_types) != full['num_hidden_layers']:
    raise ValueError(
      f'layer_types has {len(layer_types)} entries for {full["num_hidden_layers"]} layers.'
    )
  if _LOCAL not in layer_types:
    return ()
  if not window:
    raise ValueError(f'layer_types has {_LOCAL!r} layers, but sliding_window is {window!r}.')
  return tuple(window if each == _LOCAL else 0 for each in layer_types)


def _write_windows(config):
  """`layer_types` and the one window of a config."""
  windows = config.windows or (0,) * config.num_layers
  distinct = set(windows) - {0}
  return [_LOCAL if window else _GLOBAL for window in windows], max(distinct, default=None)


def _read_llama(full):
  bias = full['attention_bias']
  return {**_rope(full), 'qkv_bias': bias, 'out_bias': bias, 'ff_bias': full['mlp_bias']}


def _write_llama(config):
  return {'attention_bias': config.qkv_bias, 'mlp_bias': config.ff_bias}


def _read_mistral(full):
  window = full['sliding_window']
  return {**_rope(full), 'windows': (window,) * full['num_hidden_layers'] if window else ()}


def _write_mistral(config):
  return {'sliding_window': _write_windows(config)[1]}


def _read_qwen(full):
  window = full['sliding_window'] if full['use_sliding_window'] else None
  types = full['layer_types'] or [
    _LOCAL if window and i >= full['max_window_layers'] else _GLOBAL
    for i in range(full['num_hidden_layers'])
  ]
  return {**_rope(full), 'windows': _windows(full, types, window)}


def _write_qwen(config):
  types, window = _write_windows(config)
  return {
    'use_sliding_window': window is not None,
    'sliding_window': window,
    'layer_types': types,
    'max_window_layers': types.index(_LOCAL) if window else config.num_layers,
  }


def _read_qwen2(full):
  return {**_read_qwen(full), 'qkv_bias': True}


def _read_qwen3(full):
  bias = full['attention_bias']
  return {**_read_qwen(full), 'qk_norm': True, 'qkv_bias': bias, 'out_bias': bias}


def _write_qwen3(config):
  return {**_write_qwen(config), 'attention_bias': config.qkv_bias}


def _read_gemma(full, pattern):
  """What Gemma 2 and 3 share; every `pattern`-th layer sees all, if `layer_types` is not given."""
  types = full['layer_types'] or [
    _LOCAL if (i + 1) % pattern else _GLOBAL for i in range(full['num_hidden_layers'])
  ]
  bias = full['attention_bias']
  return {
    'windows': _windows(full, types, full['sliding_window']),
    'qkv_bias': bias,
    'out_bias': bias,
    'post_norms': True,
    'centered_norms': True,
    'query_scale': full['query_pre_attn_scalar'] ** -0.5,
    'embedding_scale': full['hidden_size'] ** 0.5,
    'attention_softcap': full['attn_logit_softcapping'],
    'logit_softcap': full['final_logit_softcapping'],
  }


def _write_gemma(config):
  types, window = _write_windows(config)
  scale = config.query_scale or config.head_dim**-0.5
  return {
    'attention_bias': config.qkv_bias,
    'query_pre_attn_scalar': round(scale**-2),
    'sliding_window': window,
    'layer_types': types,
    'attn_logit_softcapping': config.attention_softcap,
    'final_logit_softcapping': config.logit_softcap,
  }


def _read_gemma2(full):
  return {**_rope(full), **_read_gemma(full, 2)}


def _read_gemma3(full):
  if full['attn_logit_softcapping'] is not None:
    raise ValueError(
      f'attn_logit_softcapping = {full["attn_logit_softcapping"]} is not supported for model_type '
      "'gemma3_text', whose implementation in transformers does not look at it; set it to null."
    )
  read = _read_gemma(full, full['sliding_window_pattern'])
  nested = full['rope_parameters'] or {}
  others = set(nested) - {_GLOBAL, _LOCAL}
  if others:
    raise ValueError(
      f'rope_parameters holds {sorted(others)}; expected {_GLOBAL!r} and {_LOCAL!r}.'
    )
  stretch = {**(nested.get(_GLOBAL) or {}), **(full['rope_scaling'] or {})}
  read |= {**read_rope(stretch, full, full['rope_theta']), 'qk_norm': True}
  local = read_rope(nested.get(_LOCAL) or {}, full, full['rope_local_base_freq'])
  if local['rope_scaling'] is not None:
    raise ValueError(
      f'rope_parameters of {_LOCAL} ask for {local["rope_scaling"]}; only the layers without a '
      'window can be stretched.'
    )
  return read | {'local_rope_theta': local['rope_theta'] if any(read['windows']) else None}


def _write_gemma3(config):
  local = config.local_rope_theta if any(config.windows) else 10_000.0
  return {**_write_gemma(config), 'rope_local_base_freq': local}


_SHARED: Mapping[str, Any] = {
  'num_key_value_heads': None,
  'head_dim': None,
  'hidden_act': 'silu',
  'rms_norm_eps': 1e-6,
  'tie_word_embeddings': False,
  'rope_theta': 10_000.0,
  'rope_scaling': None,
  'rope_parameters': None,
}
_QWEN: Mapping[str, Any] = {
  **_SHARED,
  'num_key_value_heads': 32,
  'use_sliding_window': False,
  'sliding_window': 4096,
  'max_window_layers': 28,
  'layer_types': None,
}
_GEMMA: Mapping[str, Any] = {
  **_SHARED,
  'num_key_value_heads': 4,
  'head_dim': 256,
  'hidden_activation': 'gelu_pytorch_tanh',
  'tie_word_embeddings': True,
  'attention_bias': False,
  'query_pre_attn_scalar': 256,
  'sliding_window': 4096,
  'layer_types': None,
}

FAMILIES: Mapping[str, Family] = {
  'llama': Family(
    'LlamaForCausalLM',
    {**_SHARED, 'attention_bias': False, 'mlp_bias': False},
    _read_llama,
    _write_llama,
  ),
  'mistral': Family(
    'MistralForCausalLM',
    {**_SHARED, 'num_key_value_heads': 8, 'sliding_window': 4096},
    _read_mistral,
    _write_mistral,
  ),
  'qwen2': Family('Qwen2ForCausalLM', _QWEN, _read_qwen2, _write_qwen),
  'qwen3': Family(
    'Qwen3ForCausalLM',
    {**_QWEN, 'head_dim': 128, 'attention_bias': False},
    _read_qwen3,
    _write_qwen3,
  ),
  'gemma2': Family(
    'Gemma2ForCausalLM',
    {**_GEMMA, 'attn_logit_softcapping': 50.0, 'final_logit_softcapping': 30.0},
    _read_gemma2,
    _write_gemma,
  ),
  'gemma3_text': Family(
    'Gemma3ForCausalLM',
    {
      **_GEMMA,
      'attn_logit_softcapping': None,
      'final_logit_softcapping': None,
      'rope_theta': 1_000_000.0,
      'rope_local_base_freq': 10_000.0,
      'sliding_window_pattern': 6,
    },
    _read_gemma3,
    _write_gemma3,
  ),
}
