"""`config.json` to `DecoderConfig` and back, for each family.

Every field is either read, or known to change nothing in the computation, or an error: a field that
is passed over in silence is a model that computes something else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from rljax.models import rope
from rljax.models.config import DecoderConfig
from rljax.models.huggingface.families import FAMILIES
from rljax.models.huggingface.rope_fields import write_scaling

# What neither the forward pass nor its gradient depends on.
NO_EFFECT = frozenset(
  {
    '_attn_implementation',
    '_attn_implementation_autoset',
    '_name_or_path',
    '_sliding_window_pattern',
    'architectures',
    'attn_implementation',
    'bos_token_id',
    'cache_implementation',
    'dtype',
    'eos_token_id',
    'finetuning_task',
    'id2label',
    'initializer_range',
    'is_llama_config',
    'keys_to_ignore_at_inference',
    'label2id',
    'max_position_embeddings',
    'model_type',
    'name_or_path',
    'output_attentions',
    'output_hidden_states',
    'pad_token_id',
    'prefix',
    'pretraining_tp',
    'problem_type',
    'return_dict',
    'return_dict_in_generate',
    'sep_token_id',
    'task_specific_params',
    'tokenizer_class',
    'torch_dtype',
    'torchscript',
    'transformers.js_config',
    'transformers_version',
    'unsloth_fixed',
    'unsloth_version',
    'use_bfloat16',
    'use_cache',
  }
)

# The values at which a field that the decoder does not have changes nothing.
_NEUTRAL: Mapping[str, tuple] = {
  'add_cross_attention': (False, None),
  'attention_dropout': (0, None),
  'chunk_size_feed_forward': (0, None),
  'cross_attention_hidden_size': (None,),
  'is_decoder': (False, True, None),
  'is_encoder_decoder': (False, None),
  'partial_rotary_factor': (1, None),
  'pruned_heads': ({}, None),
  'quantization_config': (None,),
  'rope_interleaved': (False, None),
  'tie_encoder_decoder': (False, None),
  'use_bidirectional_attention': (False, None),
  'use_mrope': (False, None),
}

_ACTIVATIONS = {'silu': 'silu', 'swish': 'silu', 'gelu_pytorch_tanh': 'gelu_tanh'}
_SIZES = ('vocab_size', 'hidden_size', 'intermediate_size', 'num_hidden_layers')


def config_of(fields: Mapping[str, Any]) -> DecoderConfig:
  """The decoder that a `config.json` describes; its type of activations is the stored type.

  Args:
    fields: the content of the file, as transformers 4 (`rope_theta`, `rope_scaling`) or 5
      (`rope_parameters`) writes it.

  Raises:
    ValueError: another family, a field that is missing, or one that asks for something else than
      the decoder does.
  """
  kind = fields.get('model_type')
  if kind not in FAMILIES:
    raise ValueError(
      f'model_type {kind!r} is not supported; the supported families are {", ".join(FAMILIES)}.'
    )
  family = FAMILIES[kind]
  _check(fields, kind, family)
  full = {**family.defaults, **fields}
  heads = full['num_attention_heads']
  if not full['head_dim'] and full['hidden_size'] % heads:
    raise ValueError(
      f'config.json gives no head_dim, and hidden_size {full["hidden_size"]} does not divide by '
      f'num_attention_heads {heads}.'
    )
  act = full['hidden_activation' if 'hidden_activation' in family.defaults else 'hidden_act']
  if act not in _ACTIVATIONS:
    raise ValueError(
      f'The activation {act!r} (hidden_act, hidden_activation) is not supported; the supported '
      f'ones are {", ".join(_ACTIVATIONS)}.'
    )
  stored = fields.get('dtype') or fields.get('torch_dtype') or 'float32'
  return DecoderConfig(
    vocab_size=full['vocab_size'],
    dim=full['hidden_size'],
    num_layers=full['num_hidden_layers'],
    num_heads=heads,
    num_kv_heads=full['num_key_value_heads'] or heads,
    head_dim=full['head_dim'] or full['hidden_size'] // heads,
    ff_dim=full['intermediate_size'],
    norm_eps=full['rms_norm_eps'],
    tied=full['tie_word_embeddings'],
    dtype=stored.removeprefix('torch.'),
    activation=_ACTIVATIONS[act],
    **family.read(full),
  )


def fields_of(config: DecoderConfig) -> dict[str, Any]:
  """The `config.json` of the first family that can express a decoder, in names that transformers 4
  and 5 read.

  Raises:
    ValueError: there is no such family.
  """
  for kind, family in FAMILIES.items():
    written = _write(config, kind, family)
    try:
      same = _canonical(config_of(written)) == _canonical(config)
    except (TypeError, ValueError):
      same = False
    if same:
      return written
  raise ValueError(
    f'No family of {", ".join(FAMILIES)} has the features of {config}; a checkpoint of it would '
    'compute something else there.'
  )


def _write(config, kind, family):
  act = 'hidden_activation' if 'hidden_activation' in family.defaults else 'hidden_act'
  return {
    'architectures': [family.architecture],
    'model_type': kind,
    'vocab_size': config.vocab_size,
    'hidden_size': config.dim,
    'intermediate_size': config.ff_dim,
    'num_hidden_layers': config.num_layers,
    'num_attention_heads': config.num_heads,
    'num_key_value_heads': config.num_kv_heads,
    'head_dim': config.head_dim,
    'rms_norm_eps': config.norm_eps,
    'tie_word_embeddings': config.tied,
    act: {'silu': 'silu', 'gelu_tanh': 'gelu_pytorch_tanh'}[config.activation],
    'rope_theta': config.rope_theta,
    'rope_scaling': write_scaling(config.rope_scaling),
    'attention_dropout': 0.0,
    **family.write(config),
  }


def _canonical(config):
  """A config with what it leaves open filled in, and without what is no part of the model."""
  return dataclasses.replace(
    config,
    dtype='float32',
    remat='none',
    query_scale=config.query_scale or config.head_dim**-0.5,
    windows=config.windows if any(config.windows) else (),
    rope_scaling=(
      config.rope_scaling._replace(magnitude=rope.magnitude(config.rope_scaling))
      if isinstance(config.rope_scaling, rope.Yarn)
      else config.rope_scaling
    ),
  )


def _check(fields, kind, family):
  for name in (*_SIZES, 'num_attention_heads'):
    if fields.get(name) is None:
      raise ValueError(f'config.json of model_type {kind!r} lacks {name}.')
  known = NO_EFFECT | set(family.defaults) | {*_SIZES, 'num_attention_heads'}
  for name, value in fields.items():
    if name in known or (name in _NEUTRAL and value in _NEUTRAL[name]):
      continue
    harmless = f' (only {_NEUTRAL[name][0]!r} is)' if name in _NEUTRAL else ''
    raise ValueError(
      f'config.json field {name} = {value!r} is not supported for model_type {kind!r}{harmless}: '
      'the model might compute something else than its authors meant.'
    )
