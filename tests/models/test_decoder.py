"""The decoder against plain float64 loops; padding, packing and the cache may change nothing."""

import dataclasses
import functools
import importlib
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax import models

# `rljax.models.decoder` is the function; the module of that name is needed to move its threshold.
decoder_module = importlib.import_module('rljax.models.decoder')

SMALL = models.DecoderConfig(
  vocab_size=13,
  dim=16,
  num_layers=2,
  num_heads=4,
  num_kv_heads=2,
  head_dim=6,
  ff_dim=20,
  rope_theta=100.0,
)
CONFIGS = {
  'tied, grouped heads': SMALL,
  'untied, one key-value head': dataclasses.replace(SMALL, tied=False, num_kv_heads=1),
  'as many key-value heads': dataclasses.replace(SMALL, num_kv_heads=4, num_layers=1),
  'scanned layers': dataclasses.replace(SMALL, num_layers=5, norm_eps=0.1),
}
TOKENS = np.random.default_rng(0).integers(0, SMALL.vocab_size, (5, 9))


def is_spec(x):
  return isinstance(x, models.Spec)


def random_params(config, seed=0):
  """Weights of the scale of `init`; norm weights are not 1, so that one that is ignored shows."""
  rng = np.random.default_rng(seed)

  def leaf(spec):
    if spec.scale is None:
      return np.float32(rng.uniform(0.7, 1.6, spec.shape))
    return np.float32(1.2 * spec.scale * rng.normal(size=spec.shape))

  return jax.tree.map(leaf, models.specs(config), is_leaf=is_spec)


def slow_logits(config, params, tokens):
  """Logits `[L, V]` of one unpadded row, one number at a time."""
  p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
  half, group = config.head_dim // 2, config.num_heads // config.num_kv_heads

  def norm(x, scale):
    root = math.sqrt(sum(v * v for v in x) / len(x) + config.norm_eps)
    return np.array([v / root * s for v, s in zip(x, scale, strict=True)])

  def rotate(x, position):
    result = np.zeros(config.head_dim)
    for i in range(half):
      angle = position * config.rope_theta ** (-2 * i / config.head_dim)
      cos, sin = math.cos(angle), math.sin(angle)
      result[i] = x[i] * cos - x[i + half] * sin
      result[i + half] = x[i + half] * cos + x[i] * sin
    return result

  stream = [p['embedding'][t] for t in tokens]
  for n in range(config.num_layers):
    w = {name: leaf[n] for name, leaf in p['layers'].items()}
    normed = [norm(x, w['attention_norm']) for x in stream]
    queries, keys, values = [], [], []
    for position, x in enumerate(normed):
      queries.append([rotate(x @ w['query'][:, h], position) for h in range(config.num_heads)])
      heads = range(config.num_kv_heads)
      keys.append([rotate(x @ w['key'][:, h], position) for h in heads])
      values.append([x @ w['value'][:, h] for h in heads])
    for i in range(len(tokens)):
      for h in range(config.num_heads):
        scores = [
          queries[i][h] @ keys[j][h // group] / math.sqrt(config.head_dim) for j in range(i + 1)
        ]
        highest = max(scores)
        exps = [math.exp(s - highest) for s in scores]
        mixed = sum(e / sum(exps) * values[j][h // group] for j, e in enumerate(exps))
        stream[i] = stream[i] + mixed @ w['attention_out'][h]
    for i, x in enumerate(stream):
      x = norm(x, w['ff_norm'])
      hidden = []
      for f in range(config.ff_dim):
        gate, up = x @ w['gate'][:, f], x @ w['up'][:, f]
        hidden.append(gate / (1 + math.exp(-gate)) * up)
      stream[i] = stream[i] + np.array(hidden) @ w['down']
  head = p['embedding'] if config.tied else p['head']
  return np.array([norm(x, p['final_norm']) @ head.T for x in stream])


@functools.cache
def jitted(config):
  return jax.jit(models.decoder(config).apply)


def full_pass(config, params, tokens):
  return np.asarray(jitted(config)(params, tokens, positions_of(tokens))[0])


def positions_of(tokens):
  return np.where(tokens >= 0, np.cumsum(tokens >= 0, axis=-1) - 1, -1)


def left_pad(row, width):
  return np.concatenate([np.full(width - len(row), -1), row])


@pytest.mark.parametrize('name', CONFIGS)
def test_logits_equal_plain_loops(name):
  config = CONFIGS[name]
  params = random_params(config)
  logits = full_pass(config, params, TOKENS)
  assert logits.dtype == np.float32 and logits.std() > 0.1
  for row, tokens in zip(logits[:2], TOKENS[:2], strict=True):
    expected = slow_logits(config, params, tokens)
    np.testing.assert_allclose(row, expected, rtol=0, atol=1e-5 * max(1, np.abs(expected).max()))


def test_scanned_layers_equal_unrolled_ones(monkeypatch):
  config = CONFIGS['scanned layers']
  params = random_params(config)
  assert config.num_layers > decoder_module._UNROLL_LAYERS
  scanned = full_pass(config, params, TOKENS)
  monkeypatch.setattr(decoder_module, '_UNROLL_LAYERS', config.num_layers)
  unrolled = jax.jit(models.decoder(config).apply)(params, TOKENS, positions_of(TOKENS))[0]
  np.testing.assert_allclose(scanned, unrolled, rtol=0, atol=1e-5)


@pytest.mark.parametrize('name', ['tied, grouped heads', 'scanned layers'])
def test_prefill_and_single_tokens_equal_the_full_pass(name):
  config = CONFIGS[name]
  model, params = models.decoder(config), random_params(config)
  lengths = [5, 2, 4, 1, 3]
  prompt = np.stack([left_pad(r[:n], 5) for r, n in zip(TOKENS, lengths, strict=True)])
  rest = np.stack([r[n : n + 4] for r, n in zip(TOKENS, lengths, strict=True)])
  rest[1, 2:] = -1  # a row that has ended: its slots stay invisible
  tokens = np.concatenate([prompt, rest], axis=1)
  positions = positions_of(tokens)
  cache = model.init_cache(5, 12)  # three slots more than needed
  logits, cache = jitted(config)(params, tokens[:, :5], positions[:, :5], cache)
  pieces = [logits]
  for t in range(5, 9):
    logits, cache = jitted(config)(params, tokens[:, t : t + 1], positions[:, t : t + 1], cache)
    pieces.append(logits)
  assert int(cache.index) == 9
  cached = np.concatenate(pieces, axis=1)
  real = tokens >= 0
  padded, plain = full_pass(config, params, tokens), full_pass(config, params, TOKENS)
  atol = 1e-5 * np.abs(plain).max()
  np.testing.assert_allclose(cached[real], padded[real], rtol=0, atol=atol)
  for row, places, alone in zip(cached, real, plain, strict=True):  # and without padding
    np.testing.assert_allclose(row[places], alone[: places.sum()], rtol=0, atol=atol)


def test_padding_on_either_side_changes_nothing():
  params = random_params(SMALL)
  plain = full_pass(SMALL, params, TOKENS)
  padded = np.pad(TOKENS, ((0, 0), (3, 2)), constant_values=-1)
  padded = np.concatenate([padded, np.full((1, 14), -1)])  # and a row of padding
  logits = full_pass(SMALL, params, padded)
  np.testing.assert_allclose(logits[:-1, 3:-2], plain, rtol=0, atol=1e-5)
  assert np.isfinite(logits).all()


def test_gradients_are_finite_with_padding_and_empty_rows():
  tokens = np.stack([left_pad(TOKENS[0, :4], 9), np.full(9, -1)])

  def loss(params):
    logits, _ = models.decoder(SMALL).apply(params, tokens, positions_of(tokens))
    return jnp.sum(jnp.where((tokens >= 0)[..., None], jax.nn.log_softmax(logits), 0.0))

  grads = jax.jit(jax.grad(loss))(random_params(SMALL))
  assert all(np.isfinite(g).all() and np.abs(g).max() > 0 for g in jax.tree.leaves(grads))


def test_packed_rows_equal_unpacked_rows():
  params = random_params(SMALL)
  lengths = [4, 1, 3]
  tokens, positions, segments = np.full((3, 1, 10), -1)
  start = 0
  for i, n in enumerate(lengths):
    place = slice(start, start + n)
    tokens[0, place], positions[0, place], segments[0, place] = TOKENS[i, :n], range(n), i
    start += n
  model = models.decoder(SMALL)
  packed, _ = jax.jit(model.features)(params, tokens, positions, segments=segments)
  packed = np.asarray(model.unembed(params, packed))[0]
  unsegmented = jitted(SMALL)(params, tokens, positions)[0][0]
  start = 0
  for i, n in enumerate(lengths):
    alone = full_pass(SMALL, params, TOKENS)[i, :n]
    np.testing.assert_allclose(packed[start : start + n], alone, rtol=0, atol=1e-5)
    start += n
  # Without segments the third example sees the first: the mask is what keeps them apart.
  assert np.abs(unsegmented[5:8] - packed[5:8]).max() > 1e-2


def test_later_tokens_do_not_reach_earlier_logits():
  params = random_params(SMALL)
  other = TOKENS.copy()
  other[:, 6] = (other[:, 6] + 1) % SMALL.vocab_size
  before, after = full_pass(SMALL, params, TOKENS), full_pass(SMALL, params, other)
  np.testing.assert_array_equal(before[:, :6], after[:, :6])
  assert (np.abs(before[:, 6:] - after[:, 6:]).max(axis=(0, 2)) > 1e-3).all()


def test_rope_theta_is_read_from_the_config():
  params = random_params(SMALL)
  other = dataclasses.replace(SMALL, rope_theta=5e5)
  logits = full_pass(other, params, TOKENS)
  assert np.abs(logits - full_pass(SMALL, params, TOKENS)).max() > 1e-3
  np.testing.assert_allclose(logits[0], slow_logits(other, params, TOKENS[0]), atol=1e-5)


def test_only_relative_positions_matter():
  params = random_params(SMALL)
  shifted = jitted(SMALL)(params, TOKENS, positions_of(TOKENS) + 7)[0]
  np.testing.assert_allclose(shifted, full_pass(SMALL, params, TOKENS), rtol=0, atol=2e-5)


def test_bfloat16_activations_give_float32_logits_close_to_float32():
  params = random_params(SMALL)
  half = dataclasses.replace(SMALL, dtype='bfloat16')
  logits, exact = full_pass(half, params, TOKENS), full_pass(SMALL, params, TOKENS)
  assert logits.dtype == np.float32
  error = np.abs(logits - exact).max() / np.abs(exact).max()
  assert 1e-4 < error < 0.05
  cache = models.decoder(half).init_cache(5, 9)
  shapes = jax.eval_shape(jitted(half), params, TOKENS, positions_of(TOKENS), cache)
  assert shapes[0].dtype == jnp.float32 and shapes[1].keys[0].dtype == jnp.bfloat16


def test_token_positions_count_the_real_tokens():
  tokens = jnp.array([[-1, -1, 5, 0, 3], [4, 2, -1, 7, -1]])
  expected = [[-1, -1, 0, 1, 2], [0, 1, -1, 2, -1]]
  np.testing.assert_array_equal(models.token_positions(tokens), expected)


# One shape for every drawn leaf: each new shape is another program to compile.
TREE = {
  'a': models.Spec((40, 50), ('embed', None), 0.3),
  'b': {'a': models.Spec((40, 50), (None, 'ff'), 2.0)},
  'norm': models.Spec((7,), (None,), None),
}


def test_initial_values_depend_on_key_and_path_alone():
  params = models.init(jax.random.key(3), TREE)
  fewer = models.init(jax.random.key(3), {'b': TREE['b']})
  np.testing.assert_array_equal(fewer['b']['a'], params['b']['a'])
  a, b = params['a'] / 0.3, params['b']['a'] / 2.0
  assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.1  # two paths, independent draws
  other = models.init(jax.random.key(4), TREE)['a'] / 0.3
  assert abs(np.corrcoef(a.ravel(), other.ravel())[0, 1]) < 0.1


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_initial_values_have_the_scale_and_type_of_their_spec(dtype):
  params = models.init(jax.random.key(0), TREE, jnp.dtype(dtype))
  for x, scale in ((params['a'], 0.3), (params['b']['a'], 2.0)):
    wide = np.asarray(x, np.float64)
    assert wide.std() == pytest.approx(scale, rel=0.06)
    assert abs(wide.mean()) < 0.1 * scale
  assert (np.asarray(params['norm']) == 1).all()
  assert all(x.dtype == dtype for x in jax.tree.leaves(params))


@pytest.mark.parametrize('name', CONFIGS)
def test_specs_are_the_shapes_of_the_parameters(name):
  tree = models.specs(CONFIGS[name])
  params = jax.eval_shape(lambda: models.init(jax.random.key(0), tree))
  leaves = jax.tree.leaves(tree, is_leaf=is_spec)
  assert [x.shape for x in jax.tree.leaves(params)] == [spec.shape for spec in leaves]
  assert all(len(spec.axes) == len(spec.shape) for spec in leaves)
  assert models.count(tree) == sum(x.size for x in jax.tree.leaves(params))
  assert ('head' in tree) != CONFIGS[name].tied


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'num_kv_heads': 3}, 'num_heads .4. must be a multiple of num_kv_heads .3.'),
    ({'head_dim': 5}, 'head_dim is 5'),
    ({'head_dim': 0}, 'head_dim is 0'),
    ({'vocab_size': 0}, 'vocab_size is 0'),
    ({'num_layers': 0}, 'num_layers is 0'),
    ({'ff_dim': -4}, 'ff_dim is -4'),
    ({'num_kv_heads': 0}, 'num_kv_heads is 0'),
    ({'activation': 'relu'}, "activation is 'relu'; it must be one of .'silu', 'gelu_tanh'."),
    ({'remat': 'some'}, "remat is 'some'"),
    ({'rope_scaling': 8.0}, 'rope_scaling is 8.0; it is Linear, Llama3 or Yarn'),
    ({'windows': (4,)}, 'windows has 1 entries; it needs one for each of the 2 layers'),
    ({'windows': (4, -1)}, 'windows is .4, -1.'),
    ({'local_rope_theta': 10.0}, 'no layer has a window'),
    ({'logit_softcap': 0.0}, 'logit_softcap is 0.0'),
  ],
)
def test_impossible_sizes_are_refused(change, message):
  with pytest.raises(ValueError, match=message):
    dataclasses.replace(SMALL, **change)


def test_an_unknown_field_is_refused():
  with pytest.raises(TypeError, match='rope_factor'):
    dataclasses.replace(SMALL, rope_factor=8.0)


def test_segments_with_a_cache_are_refused():
  model = models.decoder(SMALL)
  tokens = jnp.asarray(TOKENS[:1])
  with pytest.raises(ValueError, match='segments'):
    model.features(
      random_params(SMALL), tokens, tokens, model.init_cache(1, 9), segments=jnp.zeros_like(tokens)
    )
