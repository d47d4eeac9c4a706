"""Low-rank adapters: the same model as with merged weights, for a fraction of what is trained."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toys

from rljax import aggregation, methods, models, sampling, training
from rljax.models import lora
from rljax.models.linear import LowRank
from rljax.training import sharding
from rljax.types import Batch

CONFIG = models.DecoderConfig(
  vocab_size=12,
  dim=8,
  num_layers=2,
  num_heads=4,
  num_kv_heads=2,
  head_dim=6,
  ff_dim=10,
  rope_theta=100.0,
)
MODEL = models.decoder(CONFIG)
DEEP = models.decoder(
  dataclasses.replace(CONFIG, num_layers=5, tied=False)
)  # its layers are scanned
RANK, ALPHA = 3, 5.0
SCORE = training.make_score(MODEL)
# The sums are the same and the programs compile in half the time.
QUICK = {'xla_backend_optimization_level': 0}
METHOD = methods.plus(methods.grpo(), kl=methods.kl_to_reference(aggregation.sequence_mean, 0.3))
TX = optax.adam(0.1)
TOKENS = np.random.default_rng(1).integers(0, CONFIG.vocab_size, (3, 7)).astype(np.int32)
POSITIONS = models.token_positions(TOKENS)
PROJECTIONS = ('query', 'key', 'value', 'attention_out', 'gate', 'up', 'down')


def base_of(model=MODEL):
  return models.init(jax.random.key(0), model.specs)


def adapter_of(model=MODEL, **kwargs):
  """An adapter that has been trained: both factors are random."""
  tree = lora.specs(model.specs, rank=RANK, **kwargs)
  rng = np.random.default_rng(2)
  return jax.tree.map(
    lambda spec: jnp.float32(0.5 * rng.normal(size=spec.shape)), tree, is_leaf=is_spec
  )


def run(model, params, cache=None):
  """Logits of some tokens."""
  return jax.jit(model.apply, compiler_options=QUICK)(params, TOKENS, POSITIONS, cache)[0]


def is_spec(x):
  return isinstance(x, models.Spec)


def join(base, adapter):
  return lora.join(base, adapter, alpha=ALPHA)


def policy(base, score=SCORE):
  return lambda adapter, batch: score(join(base, adapter), batch)


def update(state, base, batch, num_microbatches=1):
  step = training.make_train_step(policy(base), METHOD, TX, num_microbatches)
  return step(state, batch)


def a_batch():
  return METHOD.prepare((), toys.as_batch(toys.problem(3, [2] * 8), 'groups'))[1]


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize('model', [MODEL, DEEP], ids=['unrolled', 'scanned'])
def test_an_untrained_adapter_is_the_base_to_the_last_bit(model):
  base = base_of(model)
  adapter = models.init(jax.random.key(1), lora.specs(model.specs, rank=RANK))
  assert all(np.abs(x['a']).min() > 0 for x in adapter['layers'].values())
  np.testing.assert_array_equal(run(model, join(base, adapter)), run(model, base))


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize('model', [MODEL, DEEP], ids=['unrolled', 'scanned'])
def test_joined_weights_give_the_logits_of_merged_ones(model):
  base, adapter = base_of(model), adapter_of(model)
  joined = join(base, adapter)
  expected = run(model, lora.merge(joined))
  np.testing.assert_allclose(run(model, joined), expected, atol=5e-5)
  assert np.abs(run(model, base) - expected).max() > 0.1
  cached = run(model, joined, model.init_cache(*TOKENS.shape))
  np.testing.assert_allclose(cached, expected, atol=5e-5)


def slow_merge(base, adapter):
  """Float64, one layer at a time."""
  merged = {name: np.array(leaf, np.float64) for name, leaf in base['layers'].items()}
  for name, factors in adapter['layers'].items():
    a, b = (np.float64(factors[k]) for k in ('a', 'b'))
    for n in range(len(a)):
      product = a[n].reshape(-1, RANK) @ b[n].reshape(RANK, -1)
      merged[name][n] += ALPHA / RANK * product.reshape(merged[name][n].shape)
  return merged


def test_merged_weights_are_the_sums_of_separate_projections():
  base, adapter = base_of(), adapter_of()
  merged, expected = lora.merge(join(base, adapter)), slow_merge(base, adapter)
  for name in PROJECTIONS:
    np.testing.assert_allclose(merged['layers'][name], expected[name], atol=1e-5)
  assert merged['embedding'] is base['embedding']
  assert merged['layers']['ff_norm'] is base['layers']['ff_norm']


def test_merging_keeps_the_type_of_the_base():
  base = jax.tree.map(lambda x: x.astype(jnp.bfloat16), base_of())
  merged = lora.merge(join(base, adapter_of()))
  assert {x.dtype for x in jax.tree.leaves(merged)} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.slow
def test_gradients_follow_from_those_of_the_merged_weights():
  base, adapter, batch = base_of(), adapter_of(), a_batch()

  def loss(params):
    return jnp.sum(jnp.sin(3 * SCORE(params, batch).logp))

  grad = functools.partial(jax.jit, compiler_options=QUICK)
  found = grad(jax.grad(lambda adapter: loss(join(base, adapter))))(adapter)
  dense = grad(jax.grad(loss))(lora.merge(join(base, adapter)))['layers']
  for name in PROJECTIONS:
    for n in range(CONFIG.num_layers):
      a = np.float64(adapter['layers'][name]['a'][n]).reshape(-1, RANK)
      b = np.float64(adapter['layers'][name]['b'][n]).reshape(RANK, -1)
      g = np.float64(dense[name][n]).reshape(len(a), -1)
      slope_a, slope_b = ALPHA / RANK * g @ b.T, ALPHA / RANK * a.T @ g
      leaf = found['layers'][name]
      scale = max(np.abs(slope_a).max(), np.abs(slope_b).max())
      assert scale > 1e-2
      for slope, got in ((slope_a, leaf['a'][n]), (slope_b, leaf['b'][n])):
        got = np.asarray(got).reshape(slope.shape)
        np.testing.assert_allclose(got, slope, atol=1e-4 * scale)


def test_joining_copies_nothing():
  base, adapter = base_of(), adapter_of(targets=['layers/q*', 'layers/down'])
  joined = join(base, adapter)
  for name, leaf in base['layers'].items():
    weight = joined['layers'][name]
    assert (weight.base if isinstance(weight, LowRank) else weight) is leaf
  assert isinstance(joined['layers']['down'], LowRank)
  assert not isinstance(joined['layers']['key'], LowRank)
  assert joined['embedding'] is base['embedding']


@pytest.mark.slow
def test_a_train_step_moves_the_adapter_and_reads_the_base_where_it_lies():
  base, adapter, batch = base_of(), adapter_of(), a_batch()
  before = jax.tree.map(np.array, base)
  where = [x.unsafe_buffer_pointer() for x in jax.tree.leaves(base)]
  state = training.init_state(jax.tree.map(jnp.copy, adapter), TX, METHOD)
  step = jax.jit(update, donate_argnums=0, compiler_options=QUICK)
  for _ in range(2):
    state, metrics = step(state, base, batch)
  assert metrics['grad_norm'] > 1e-3 and metrics['nonfinite_grads'] == 0
  assert jax.tree.structure(state.params) == jax.tree.structure(adapter)
  jax.tree.map(
    lambda new, old: np.abs(new - old).max() > 1e-3 or pytest.fail(), state.params, adapter
  )
  jax.tree.map(np.testing.assert_array_equal, base, before)
  assert where == [x.unsafe_buffer_pointer() for x in jax.tree.leaves(base)]


def size(tree):
  return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


@pytest.mark.nightly
@pytest.mark.slow
def test_the_compiled_step_holds_one_base_and_neither_its_gradient_nor_its_moments():
  """The same step on all parameters writes base, gradient and both moments."""
  config = dataclasses.replace(CONFIG, dim=64, ff_dim=256, num_layers=5)
  model = models.decoder(config)
  base, batch = base_of(model), a_batch()
  score = training.make_score(model)
  adapter = models.init(jax.random.key(1), lora.specs(model.specs, rank=1))

  def compiled(step, params, *rest):
    state = training.init_state(params, TX, METHOD)
    return jax.jit(step, donate_argnums=0).lower(state, *rest, batch).compile(), state

  low, state = compiled(
    lambda state, base, batch: training.make_train_step(policy(base, score), METHOD, TX)(
      state, batch
    ),
    adapter,
    base,
  )
  full, _ = compiled(training.make_train_step(score, METHOD, TX), base)
  low_memory, full_memory = low.memory_analysis(), full.memory_analysis()
  assert low_memory.argument_size_in_bytes < size(base) + size(state) + size(batch) + 4096
  assert low_memory.output_size_in_bytes < size(state) + 4096
  assert low_memory.generated_code_size_in_bytes < size(base)  # the base is no constant of it
  saved = full_memory.temp_size_in_bytes - low_memory.temp_size_in_bytes
  assert saved > 0.9 * size(base['layers'])  # the gradient of the base
  flops = low.cost_analysis()['flops'] / full.cost_analysis()['flops']
  assert flops < 0.8


@functools.cache
def one_step(num_microbatches, mesh=None):
  base, adapter, batch = base_of(), adapter_of(), a_batch()
  state = training.init_state(adapter, TX, METHOD)
  if mesh:
    tree = lora.specs(MODEL.specs, rank=RANK)
    where = sharding.like_params(state, adapter, sharding.params(tree, mesh), mesh)
    base = jax.device_put(base, sharding.params(MODEL.specs, mesh))
    state, batch = jax.device_put(state, where), jax.device_put(batch, sharding.rows(mesh))
  step = functools.partial(update, num_microbatches=num_microbatches)
  return jax.jit(step, compiler_options=QUICK)(state, base, batch)


def assert_same_step(found, expected):
  (state, metrics), (expected_state, expected_metrics) = found, expected
  moments, expected_moments = state.opt_state[0].mu, expected_state.opt_state[0].mu
  assert max(np.abs(x).max() for x in jax.tree.leaves(expected_moments)) > 1e-3
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), moments, expected_moments)
  for name, value in expected_metrics.items():
    assert float(metrics[name]) == pytest.approx(float(value), rel=1e-4, abs=1e-5), name


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize('parts', [2, 4])
def test_microbatches_change_no_gradient(parts):
  assert_same_step(one_step(parts), one_step(1))


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize('shape', [(2, 2, 1), (1, 2, 2)])
def test_a_mesh_gives_the_step_of_one_device(shape):
  mesh = sharding.make_mesh(*shape)
  found = one_step(2, mesh)
  assert_same_step(found, one_step(2))
  factors = found[0].params['layers']['query']
  _, fsdp, tensor = shape
  assert factors['a'].sharding.shard_shape(factors['a'].shape) == (2, 8 // fsdp, RANK)
  assert factors['b'].sharding.shard_shape(factors['b'].shape) == (2, RANK, 4 // tensor, 6)


@pytest.mark.nightly
@pytest.mark.slow
def test_the_sampler_and_the_scorer_agree():
  params = join(base_of(), adapter_of())
  prompt = toys.problem(3, [2] * 4)['prompt'][::2]
  samples = jax.jit(
    lambda params: sampling.sample(
      MODEL, params, prompt, jax.random.key(0), group_size=3, max_new_tokens=5, eos=1
    )
  )(params)
  batch = Batch(prompt=prompt[:, None], completion=samples.completion)
  scores = SCORE(params, batch)
  np.testing.assert_allclose(samples.logp, scores.logp, atol=1e-5)
  plain = SCORE(base_of(), batch)
  assert np.abs(plain.logp - scores.logp).max() > 0.1


def test_specs_follow_the_logical_axes_of_the_base():
  tree = lora.specs(MODEL.specs, rank=RANK, targets=['layers/key', 'layers/attention_out'])
  assert tree.keys() == {'layers'} and tree['layers'].keys() == {'key', 'attention_out'}
  key, out = tree['layers']['key'], tree['layers']['attention_out']
  assert key['a'][:2] == ((2, 8, RANK), ('layer', 'embed', None))
  assert key['b'][:2] == ((2, RANK, 2, 6), ('layer', None, 'kv_heads', None))
  assert out['a'][:2] == ((2, 4, 6, RANK), ('layer', 'heads', None, None))
  assert out['b'][:2] == ((2, RANK, 8), ('layer', None, 'embed'))
  assert out['a'].scale == pytest.approx(1 / math.sqrt(3 * 24)) and out['b'].scale == 0


def test_all_projections_are_targets_unless_some_are_named():
  assert set(lora.specs(MODEL.specs, rank=1)['layers']) == set(PROJECTIONS)


@pytest.mark.parametrize(
  'rank, targets, message',
  [
    (0, ('*',), 'must be at least 1'),
    (2, ('layers/qeury',), "Did you mean 'layers/query'"),
    (2, ('layers/query', 'embedding'), "'embedding' fits no projection"),
  ],
)
def test_mistakes_are_explained(rank, targets, message):
  with pytest.raises(ValueError, match=message):
    lora.specs(MODEL.specs, rank=rank, targets=targets)
