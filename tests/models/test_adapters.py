"""Flax modules behind the plain function: sampled, scored and trained like the house's decoder."""

import functools

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toys
from flax import nnx

from rljax import methods, models, sampling, training
from rljax.models import attention
from rljax.training import sharding
from rljax.types import Batch

D, H = 8, 2
# The sums are the same and the programs compile in half the time.
QUICK = {'xla_backend_optimization_level': 0}
TX = optax.adam(0.01)


def one_layer(x, q, k, v, positions, cache, segments):
  """Attention `[B, L, D]` of two heads and the cache `(keys, values, positions, index)`."""
  slots = positions
  if cache is not None:
    keys, values, slots, index = cache
    k = jax.lax.dynamic_update_slice(keys, k, (0, index, 0, 0))
    v = jax.lax.dynamic_update_slice(values, v, (0, index, 0, 0))
    slots = jax.lax.dynamic_update_slice(slots, positions, (0, index))
    cache = (k, v, slots, index + x.shape[1])
  visible = attention.visible(positions, slots)
  if segments is not None:
    visible &= segments[:, :, None] == segments[:, None, :]
  logits = jnp.einsum('blhd,bshd->bhls', q, k)
  probs = jax.nn.softmax(jnp.where(visible[:, None], logits, -1e30), axis=-1)
  return jnp.einsum('bhls,bshd->blhd', probs, v).reshape(x.shape), cache


def init_cache(rows, slots):
  heads = jnp.zeros((rows, slots, H, D // H))
  return heads, heads, jnp.full((rows, slots), -1, jnp.int32), jnp.zeros((), jnp.int32)


class NnxDecoder(nnx.Module):
  """Learned positions, one layer of attention with a residual branch, a head of its own."""

  def __init__(self, rngs):
    self.embed = nnx.Embed(toys.VOCAB, D, rngs=rngs)
    self.place = nnx.Embed(64, D, rngs=rngs)
    column = nnx.with_partitioning(nnx.initializers.normal(0.5), (None, 'heads'))
    with nnx.use_eager_sharding(False):
      self.qkv = nnx.List(
        [nnx.Linear(D, D, use_bias=False, kernel_init=column, rngs=rngs) for _ in range(3)]
      )
    self.head = nnx.Linear(D, toys.VOCAB, rngs=rngs)
    self.calls = nnx.Variable(jnp.zeros((), jnp.int32))  # not a parameter

  def __call__(self, tokens, positions, cache, segments=None):
    self.calls[...] += 1
    x = self.embed(tokens) + self.place(jnp.maximum(positions, 0))
    q, k, v = (proj(x).reshape(*x.shape[:2], H, D // H) for proj in self.qkv)
    mixed, cache = one_layer(x, q, k, v, positions, cache, segments)
    return self.head(x + mixed), cache


class LinenDecoder(flax.linen.Module):
  """The same in Linen."""

  @flax.linen.compact
  def __call__(self, tokens, positions, cache, segments=None):
    x = flax.linen.Embed(toys.VOCAB, D, name='embed')(tokens)
    x += flax.linen.Embed(64, D, name='place')(jnp.maximum(positions, 0))
    column = flax.linen.with_partitioning(flax.linen.initializers.normal(0.5), (None, 'heads'))
    qkv = [
      flax.linen.Dense(D, use_bias=False, kernel_init=column, name=f'qkv_{i}')(x) for i in range(3)
    ]
    q, k, v = (y.reshape(*x.shape[:2], H, D // H) for y in qkv)
    mixed, cache = one_layer(x, q, k, v, positions, cache, segments)
    return flax.linen.Dense(toys.VOCAB, name='head')(x + mixed), cache


@functools.cache
def of(kind):
  if kind.startswith('nnx'):
    module = NnxDecoder(nnx.Rngs(0))
    return models.from_nnx(module, init_cache=None if kind == 'nnx, no cache' else init_cache)
  module, tokens = LinenDecoder(), jnp.zeros((1, 2), jnp.int32)
  variables = module.init(jax.random.key(0), tokens, tokens, None)
  cache = None if kind == 'linen, no cache' else init_cache
  return models.from_linen(module, variables, init_cache=cache)


KINDS = ['nnx', 'nnx, no cache', 'linen', 'linen, no cache']
each_kind = pytest.mark.parametrize('kind', KINDS)
each_library = pytest.mark.parametrize('kind', ['nnx', 'linen'])


def jit(fn):
  return jax.jit(fn, compiler_options=QUICK)


def draw(model, params):
  """Completions of ragged prompts, and the batch they make."""
  prompt = toys.problem(3, [2] * 4)['prompt'][::2]
  samples = jit(
    lambda params: sampling.sample(
      model, params, prompt, jax.random.key(0), group_size=2, max_new_tokens=5, eos=1
    )
  )(params)
  return samples, Batch(prompt=prompt[:, None], completion=samples.completion)


@each_kind
def test_the_sampler_and_the_scorer_agree(kind):
  model, params = of(kind)
  samples, batch = draw(model, params)
  scores = jit(training.make_score(model))(params, batch)
  real = np.asarray(samples.completion) >= 0
  assert real.sum() > 20 and np.all(np.asarray(samples.logp)[real] < 0)
  np.testing.assert_allclose(scores.logp, samples.logp, atol=1e-5)


@each_library
def test_a_cache_of_its_own_changes_no_draw(kind):
  samples, _ = draw(*of(kind))
  again, _ = draw(*of(f'{kind}, no cache'))
  np.testing.assert_array_equal(samples.completion, again.completion)
  np.testing.assert_allclose(samples.logp, again.logp, atol=1e-5)


def test_nnx_and_linen_with_the_same_weights_give_the_same_logits():
  """Two libraries, and names that lead to the right leaves."""
  (first, params), (second, _) = of('nnx'), of('linen')
  p = params
  qkv = {f'qkv_{i}': {'kernel': p['qkv'][str(i)]['kernel']} for i in range(3)}
  moved = {'embed': p['embed'], 'place': p['place'], 'head': p['head'], **qkv}
  tokens = toys.problem(3, [2] * 4)['prompt']
  inputs = (tokens, models.token_positions(tokens), None)
  found, _ = first.apply(params, *inputs)
  expected, _ = second.apply(moved, *inputs)
  np.testing.assert_allclose(found, expected, atol=1e-6)


@each_kind
def test_padding_left_and_right_changes_nothing(kind):
  model, params = of(kind)
  tokens = np.array([[3, 1, 4, 1, 5]])
  padded = np.pad(tokens, ((0, 0), (2, 3)), constant_values=-1)
  expected, _ = model.apply(params, tokens, models.token_positions(tokens), None)
  found, _ = model.apply(params, padded, models.token_positions(padded), None)
  np.testing.assert_allclose(found[:, 2:7], expected, atol=1e-6)


@each_library
def test_a_train_step_moves_every_parameter(kind):
  model, params = of(kind)
  method = methods.grpo()
  batch = method.prepare((), toys.as_batch(toys.problem(3, [2] * 4), 'groups'))[1]
  step = training.make_train_step(training.make_score(model), method, TX, 2)
  state, metrics = jit(step)(training.init_state(params, TX, method), batch)
  assert metrics['nonfinite_grads'] == 0 and metrics['grad_norm'] > 1e-3
  for path, moment in jax.tree_util.tree_leaves_with_path(state.opt_state[0].mu):
    assert np.abs(moment).max() > 0, path
  assert jax.tree.structure(state.params) == jax.tree.structure(params)


@each_library
def test_packed_rows_are_learned_as_the_same_rows_apart(kind):
  model, params = of(kind)
  rng = np.random.default_rng(0)
  examples = rng.integers(0, toys.VOCAB, (4, 6)).astype(np.int32)
  place = np.broadcast_to(np.arange(6, dtype=np.int32), (4, 6))
  apart = {
    'tokens': examples,
    'positions': place,
    'segments': np.zeros((4, 6), np.int32),
    'mask': np.float32(place >= 2),
  }
  packed = {name: x.reshape(2, 12) for name, x in apart.items()}
  packed['segments'] = np.repeat(np.array([[0, 1], [0, 1]], np.int32), 6, axis=1)
  step = jit(training.make_supervised_step(model, TX))
  (_, expected), (state, found) = (
    step(training.init_state(params, TX), rows) for rows in (apart, packed)
  )
  assert found['loss'] == pytest.approx(float(expected['loss']), rel=1e-5)
  assert found['grad_norm'] == pytest.approx(float(expected['grad_norm']), rel=1e-4)
  for _ in range(20):
    state, metrics = step(state, packed)
  assert metrics['loss'] < found['loss'] - 0.05


def test_a_call_without_segments_refuses_packed_rows():
  module = NnxDecoder(nnx.Rngs(0))
  model, params = models.from_nnx(
    module, lambda m, tokens, positions, cache: m(tokens, positions, cache)
  )
  rows = {name: np.zeros((1, 4), np.int32) for name in ('tokens', 'positions', 'segments')}
  step = training.make_supervised_step(model, TX)
  with pytest.raises(ValueError, match='cannot tell packed examples apart'):
    step(training.init_state(params, TX), rows | {'mask': np.ones((1, 4), np.float32)})


@each_library
def test_a_cache_refuses_packed_rows(kind):
  model, params = of(kind)
  tokens = jnp.zeros((1, 2), jnp.int32)
  with pytest.raises(ValueError, match='one example a row'):
    model.apply(params, tokens, tokens, model.init_cache(1, 2), segments=tokens)


@each_library
def test_specs_follow_shapes_and_partitioning_metadata(kind):
  model, params = of(kind)
  assert models.count(model.specs) == sum(x.size for x in jax.tree.leaves(params))
  kernel = (
    model.specs['qkv']['0' if kind == 'nnx' else 0] if kind == 'nnx' else model.specs['qkv_0']
  )
  assert kernel['kernel'][:2] == ((D, D), (None, 'heads'))
  assert model.specs['head']['bias'][:2] == ((toys.VOCAB,), (None,))
  mesh = sharding.make_mesh(2, 1, 2)
  placed = jax.device_put(params, sharding.params(model.specs, mesh))
  samples, _ = draw(model, placed)
  expected, _ = draw(model, params)
  np.testing.assert_array_equal(samples.completion, expected.completion)
  drawn = models.init(jax.random.key(0), model.specs)
  assert all(np.isnan(x).all() for x in jax.tree.leaves(drawn))  # nobody trains these by mistake


def test_an_nnx_module_is_left_as_it_was():
  module = NnxDecoder(nnx.Rngs(0))
  model, params = models.from_nnx(module, init_cache=init_cache)
  draw(model, params)
  assert module.calls[...] == 0
  assert set(params) == {'embed', 'place', 'qkv', 'head'}


def test_linen_variables_without_parameters_are_named():
  with pytest.raises(ValueError, match=r"no collection 'params' but \['embed'\]"):
    models.from_linen(LinenDecoder(), {'embed': {}})


def test_a_tunix_llama_is_sampled_and_trained():
  llama = pytest.importorskip('tunix.models.llama3.model')
  config = llama.ModelConfig(
    num_layers=2,
    vocab_size=toys.VOCAB,
    embed_dim=16,
    hidden_dim=32,
    num_heads=4,
    head_dim=8,
    num_kv_heads=2,
    rope_theta=10_000,
    norm_eps=1e-5,
  )
  module = llama.Llama3(config, rngs=nnx.Rngs(0))

  def call(module, tokens, positions, cache, segments):
    layers, slots = None, positions
    if cache is not None:
      index = cache['layers']['layer_0']['end_index'][0]
      layers = cache['layers']
      slots = jax.lax.dynamic_update_slice(cache['positions'], positions, (0, index))
    visible = attention.visible(positions, slots)
    if segments is not None:
      visible &= segments[:, :, None] == segments[:, None, :]
    with jax.numpy_rank_promotion('allow'):  # Tunix relies on it
      logits, layers = module(tokens, jnp.maximum(positions, 0), layers, visible)
    return logits, None if cache is None else {'layers': layers, 'positions': slots}

  def init_cache(rows, slots):
    heads = jnp.zeros((rows, slots, config.num_kv_heads, config.head_dim))
    layer = {'k': heads, 'v': heads, 'end_index': jnp.zeros(rows, jnp.int32)}
    return {
      'layers': {f'layer_{i}': layer for i in range(config.num_layers)},
      'positions': jnp.full((rows, slots), -1, jnp.int32),
    }

  model, params = models.from_nnx(module, call, init_cache)
  rng = np.random.default_rng(0)  # Tunix starts its feed-forward blocks at 0
  params = jax.tree.map(lambda x: jnp.float32(0.3 * rng.normal(size=x.shape)), params)
  samples, batch = draw(model, params)
  scores = jit(training.make_score(model))(params, batch)
  np.testing.assert_allclose(scores.logp, samples.logp, atol=2e-5)
  uncached, _ = draw(models.from_nnx(module, call)[0], params)
  np.testing.assert_array_equal(samples.completion, uncached.completion)
  assert np.ptp(np.asarray(samples.logp)[samples.completion >= 0]) > 0.5

  query = model.specs['layers']['0']['attn']['q_proj']['w']
  assert query[:2] == ((16, 4, 8), ('fsdp', 'tp', None))

  method = methods.grpo()
  batch = method.prepare((), toys.as_batch(toys.problem(3, [2] * 4), 'groups'))[1]
  step = training.make_train_step(training.make_score(model), method, TX, 2)
  state, metrics = jit(step)(training.init_state(params, TX, method), batch)
  assert metrics['nonfinite_grads'] == 0 and metrics['grad_norm'] > 1e-3
  moved = jax.tree.map(lambda new, old: float(np.abs(new - old).max()), state.params, params)
  assert min(jax.tree.leaves(moved)) > 0
