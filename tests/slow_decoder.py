"""The forward pass of every Hugging Face family as plain NumPy loops in float64, and tiny random
checkpoints for it.

Written from the fields and tensor names of the checkpoints alone: it knows nothing of rljax.
"""

import math

import numpy as np

SIZES = {
  'vocab_size': 28,
  'hidden_size': 16,
  'intermediate_size': 20,
  'num_hidden_layers': 2,
  'num_attention_heads': 4,
  'num_key_value_heads': 2,
  'head_dim': 8,
  'rms_norm_eps': 1e-5,
  'tie_word_embeddings': False,
  'torch_dtype': 'float32',
}
LLAMA3 = {
  'rope_type': 'llama3',
  'factor': 8.0,
  'low_freq_factor': 1.0,
  'high_freq_factor': 4.0,
  'original_max_position_embeddings': 16,
}
YARN = {'type': 'yarn', 'factor': 4.0, 'original_max_position_embeddings': 8}
GEMMA = {
  'head_dim': 8,
  'hidden_activation': 'gelu_pytorch_tanh',
  'query_pre_attn_scalar': 5,
  'sliding_window': 4,
  'tie_word_embeddings': True,
}

# What each checkpoint has beyond SIZES; the fields are those of transformers 4.
FAMILIES = {
  'llama': {'model_type': 'llama', 'rope_theta': 500.0},
  'llama, biases, tied, derived head_dim': {
    'model_type': 'llama',
    'head_dim': None,
    'attention_bias': True,
    'mlp_bias': True,
    'tie_word_embeddings': True,
  },
  'llama 3.1': {'model_type': 'llama', 'rope_theta': 500.0, 'rope_scaling': LLAMA3},
  'llama, linear': {'model_type': 'llama', 'rope_scaling': {'type': 'linear', 'factor': 4.0}},
  'smollm2': {
    'model_type': 'llama',
    'rope_theta': 100_000,
    'rope_scaling': None,
    'rope_interleaved': False,
    'is_llama_config': True,
    'tie_word_embeddings': True,
    'num_key_value_heads': 1,
  },
  'mistral': {'model_type': 'mistral', 'sliding_window': 5},
  'mistral, no window': {'model_type': 'mistral', 'sliding_window': None},
  'qwen2': {
    'model_type': 'qwen2',
    'rope_theta': 1e6,
    'use_sliding_window': False,
    'sliding_window': 4,
    'max_window_layers': 1,
    'tie_word_embeddings': True,
  },
  'qwen2, windows': {
    'model_type': 'qwen2',
    'use_sliding_window': True,
    'sliding_window': 4,
    'max_window_layers': 1,
  },
  'qwen2, yarn': {'model_type': 'qwen2', 'rope_theta': 1e4, 'rope_scaling': YARN},
  'qwen3': {'model_type': 'qwen3', 'rope_theta': 1e6, 'attention_bias': False},
  'qwen3, biases, yarn': {
    'model_type': 'qwen3',
    'attention_bias': True,
    'rope_scaling': {**YARN, 'beta_fast': 4, 'beta_slow': 2, 'attention_factor': 1.3},
  },
  'gemma2': {
    **GEMMA,
    'model_type': 'gemma2',
    'attn_logit_softcapping': 2.0,
    'final_logit_softcapping': 3.0,
  },
  'gemma3': {
    **GEMMA,
    'model_type': 'gemma3_text',
    'rope_theta': 1e6,
    'rope_local_base_freq': 100.0,
    'sliding_window_pattern': 2,
    'rope_scaling': {'rope_type': 'linear', 'factor': 2.0},
    'attn_logit_softcapping': None,
    'final_logit_softcapping': 5.0,
  },
}


def fields(name):
  """The `config.json` of a case."""
  return {**SIZES, **FAMILIES[name]}


def head_dim(f):
  return f['head_dim'] or f['hidden_size'] // f['num_attention_heads']


def shapes(f):
  """Names and shapes of the tensors of a checkpoint."""
  d, hidden, kind = f['hidden_size'], f['intermediate_size'], f['model_type']
  wide, narrow = f['num_attention_heads'] * head_dim(f), f['num_key_value_heads'] * head_dim(f)
  found = {'model.embed_tokens.weight': (f['vocab_size'], d), 'model.norm.weight': (d,)}
  if not f['tie_word_embeddings']:
    found['lm_head.weight'] = (f['vocab_size'], d)
  for i in range(f['num_hidden_layers']):
    layer = {
      'self_attn.q_proj.weight': (wide, d),
      'self_attn.k_proj.weight': (narrow, d),
      'self_attn.v_proj.weight': (narrow, d),
      'self_attn.o_proj.weight': (d, wide),
      'mlp.gate_proj.weight': (hidden, d),
      'mlp.up_proj.weight': (hidden, d),
      'mlp.down_proj.weight': (d, hidden),
      'input_layernorm.weight': (d,),
      'post_attention_layernorm.weight': (d,),
    }
    biased = ['q_proj', 'k_proj', 'v_proj'] if kind == 'qwen2' else []
    if f.get('attention_bias'):
      biased = ['q_proj', 'k_proj', 'v_proj', 'o_proj']
    for name in biased:
      layer[f'self_attn.{name}.bias'] = layer[f'self_attn.{name}.weight'][:1]
    if f.get('mlp_bias'):
      for name in ('gate_proj', 'up_proj', 'down_proj'):
        layer[f'mlp.{name}.bias'] = layer[f'mlp.{name}.weight'][:1]
    if kind in ('qwen3', 'gemma3_text'):
      layer |= {f'self_attn.{name}_norm.weight': (head_dim(f),) for name in 'qk'}
    if kind in ('gemma2', 'gemma3_text'):
      layer |= {f'{name}_feedforward_layernorm.weight': (d,) for name in ('pre', 'post')}
    found |= {f'model.layers.{i}.{name}': shape for name, shape in layer.items()}
  return found


def tensors(f, seed=0):
  """Random weights, float32; norms and biases are large enough that one that is ignored shows."""
  rng = np.random.default_rng(seed)
  center = 0.0 if f['model_type'].startswith('gemma') else 1.0
  return {
    name: np.float32(
      center + rng.uniform(-0.4, 0.6, shape) if 'norm' in name else 0.4 * rng.normal(size=shape)
    )
    for name, shape in shapes(f).items()
  }


def logits(f, weights, tokens):
  """Logits `[L, V]` of one row of tokens without padding."""
  w = {name: np.asarray(x, np.float64) for name, x in weights.items()}
  kind, width = f['model_type'], head_dim(f)
  gemma = kind.startswith('gemma')
  heads, groups = f['num_attention_heads'], f['num_key_value_heads']
  scale = f.get('query_pre_attn_scalar', width) ** -0.5

  def norm(x, name):
    weight = w[f'{name}.weight']
    return x / math.sqrt(np.mean(x * x) + f['rms_norm_eps']) * (1 + weight if gemma else weight)

  def linear(x, name):
    y = w[f'{name}.weight'] @ x
    return y + w[f'{name}.bias'] if f'{name}.bias' in w else y

  def act(x):
    if gemma:
      return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return x / (1 + np.exp(-x))

  def cap(x, bound):
    return x if bound is None else bound * np.tanh(x / bound)

  stream = [w['model.embed_tokens.weight'][t] for t in tokens]
  if gemma:
    stream = [x * math.sqrt(f['hidden_size']) for x in stream]
  for i in range(f['num_hidden_layers']):
    at = f'model.layers.{i}'
    window = window_of(f, i)
    queries, keys, values = [], [], []
    for position, x in enumerate(stream):
      x = norm(x, f'{at}.input_layernorm')
      q = linear(x, f'{at}.self_attn.q_proj').reshape(heads, width)
      k = linear(x, f'{at}.self_attn.k_proj').reshape(groups, width)
      values.append(linear(x, f'{at}.self_attn.v_proj').reshape(groups, width))
      if kind in ('qwen3', 'gemma3_text'):
        q = [norm(head, f'{at}.self_attn.q_norm') for head in q]
        k = [norm(head, f'{at}.self_attn.k_norm') for head in k]
      queries.append([rotate(f, head, position, window) for head in q])
      keys.append([rotate(f, head, position, window) for head in k])
    for position, x in enumerate(stream):
      first = max(0, position + 1 - window) if window else 0
      mixed = []
      for head in range(heads):
        group = head // (heads // groups)
        scores = [
          queries[position][head] @ keys[j][group] * scale for j in range(first, position + 1)
        ]
        scores = cap(np.array(scores), f.get('attn_logit_softcapping'))
        chances = np.exp(scores - scores.max())
        chances = chances / chances.sum()
        mixed.append(sum(c * values[first + j][group] for j, c in enumerate(chances)))
      added = linear(np.concatenate(mixed), f'{at}.self_attn.o_proj')
      if gemma:
        added = norm(added, f'{at}.post_attention_layernorm')
      stream[position] = x + added
    before = 'pre_feedforward_layernorm' if gemma else 'post_attention_layernorm'
    for position, x in enumerate(stream):
      y = norm(x, f'{at}.{before}')
      y = act(linear(y, f'{at}.mlp.gate_proj')) * linear(y, f'{at}.mlp.up_proj')
      y = linear(y, f'{at}.mlp.down_proj')
      stream[position] = x + (norm(y, f'{at}.post_feedforward_layernorm') if gemma else y)
  head = w['model.embed_tokens.weight' if f['tie_word_embeddings'] else 'lm_head.weight']
  result = np.array([head @ norm(x, 'model.norm') for x in stream])
  return cap(result, f.get('final_logit_softcapping'))


def window_of(f, layer):
  """How many tokens a layer looks back, itself included; None: all."""
  kind = f['model_type']
  if kind == 'mistral':
    return f['sliding_window']
  if kind == 'qwen2':
    return (
      f['sliding_window']
      if f.get('use_sliding_window') and layer >= f['max_window_layers']
      else None
    )
  if kind == 'gemma2':
    return f['sliding_window'] if layer % 2 == 0 else None
  if kind == 'gemma3_text':
    return f['sliding_window'] if (layer + 1) % f['sliding_window_pattern'] else None
  return None


def rotate(f, x, position, window):
  """A head's vector turned by its position."""
  half = len(x) // 2
  speeds, size = speeds_of(f, half, window)
  result = np.zeros(len(x))
  for i, speed in enumerate(speeds):
    cos, sin = size * math.cos(position * speed), size * math.sin(position * speed)
    result[i] = x[i] * cos - x[i + half] * sin
    result[i + half] = x[i + half] * cos + x[i] * sin
  return result


def speeds_of(f, half, window):
  """Radians a position for each pair, and what cos and sin are multiplied by."""
  local = f['model_type'] == 'gemma3_text' and window
  theta = f['rope_local_base_freq'] if local else f.get('rope_theta', 10_000.0)
  speeds = [theta ** (-i / half) for i in range(half)]
  stretch = None if local else f.get('rope_scaling')
  if not stretch:
    return speeds, 1.0
  kind, factor = stretch.get('rope_type', stretch.get('type')), stretch['factor']
  if kind == 'linear':
    return [speed / factor for speed in speeds], 1.0
  longest = stretch['original_max_position_embeddings']
  if kind == 'llama3':
    low, high = stretch['low_freq_factor'], stretch['high_freq_factor']
    for i, speed in enumerate(speeds):
      wavelength = 2 * math.pi / speed
      if wavelength > longest / low:
        speeds[i] = speed / factor
      elif wavelength > longest / high:
        smooth = (longest / wavelength - low) / (high - low)
        speeds[i] = (1 - smooth) * speed / factor + smooth * speed
    return speeds, 1.0
  assert kind == 'yarn'

  def pair_of(turns):
    return half * math.log(longest / (2 * math.pi * turns)) / math.log(theta)

  low = max(math.floor(pair_of(stretch.get('beta_fast', 32))), 0)
  high = min(math.ceil(pair_of(stretch.get('beta_slow', 1))), 2 * half - 1)
  for i, speed in enumerate(speeds):
    slow = min(max((i - low) / max(high - low, 0.001), 0), 1)
    speeds[i] = slow * speed / factor + (1 - slow) * speed
  return speeds, stretch.get('attention_factor', 0.1 * math.log(factor) + 1)
