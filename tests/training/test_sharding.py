"""Meshes change where arrays live, not what comes out."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toys
from jax.sharding import AxisType, PartitionSpec

from experiments import hlo
from rljax import aggregation, methods, models, sampling, training
from rljax.models import lora
from rljax.training import sharding
from rljax.types import Batch

CONFIG = models.DecoderConfig(
  vocab_size=12,
  dim=8,
  num_layers=1,
  num_heads=4,
  num_kv_heads=2,
  head_dim=4,
  ff_dim=12,
  tied=False,
)
MODEL = models.decoder(CONFIG)
METHOD = methods.plus(methods.grpo(), kl=methods.kl_to_reference(aggregation.sequence_mean, 0.3))
TX = optax.adam(1.0)
# The sums are the same and the programs compile in half the time.
QUICK = {'xla_backend_optimization_level': 0}


def is_spec(x):
  return isinstance(x, models.Spec)


def params():
  rng = np.random.default_rng(0)
  return jax.tree.map(
    lambda spec: jnp.float32(rng.normal(size=spec.shape)) / 2, MODEL.specs, is_leaf=is_spec
  )


def mesh_of(data, fsdp, tensor):
  """`make_mesh` wants all devices; these meshes may leave some out."""
  size = data * fsdp * tensor
  if size in (1, len(jax.devices())):
    return sharding.make_mesh(data, fsdp, tensor)
  return jax.make_mesh(
    (data, fsdp, tensor),
    ('data', 'fsdp', 'tensor'),
    axis_types=(AxisType.Auto,) * 3,
    devices=jax.devices()[:size],
  )


def on_mesh(mesh):
  """State and batch placed on a mesh."""
  shardings = sharding.params(MODEL.specs, mesh)
  placed = jax.device_put(params(), shardings)
  state = training.init_state(placed, TX, METHOD)
  where = sharding.like_params(state, placed, shardings, mesh)
  batch = toys.as_batch(toys.problem(3, [2] * 8), 'groups')
  batch = METHOD.prepare((), batch)[1]
  return jax.device_put(state, where), jax.device_put(batch, sharding.rows(mesh)), where


@functools.cache
def trained(shape):
  """Gradient (Adam's first moment times ten), parameters and metrics after one step on a mesh."""
  state, batch, where = on_mesh(mesh_of(*shape))
  step = training.make_train_step(training.make_score(MODEL), METHOD, TX, 2)
  step = jax.jit(step, donate_argnums=0, out_shardings=(where, None), compiler_options=QUICK)
  state, metrics = step(state, batch)
  return jax.device_get((jax.tree.map(lambda m: 10 * m, state.opt_state[0].mu), metrics)), state


def draw(params, prompt):
  return sampling.sample(
    MODEL, params, prompt, jax.random.key(0), group_size=2, max_new_tokens=4, eos=1
  )


@functools.cache
def drawn(shape):
  mesh = mesh_of(*shape)
  placed = jax.device_put(params(), sharding.params(MODEL.specs, mesh))
  prompt = toys.problem(3, [2] * 8)['prompt'][::2]
  prompt = jax.device_put(prompt, sharding.rows(mesh))
  fn = jax.jit(draw, out_shardings=sharding.rows(mesh), compiler_options=QUICK)
  return jax.device_get(fn(placed, prompt))


MESHES = [(2, 2, 1), (1, 1, 2), (2, 1, 2)]


@pytest.mark.slow
@pytest.mark.parametrize('shape', MESHES)
def test_a_mesh_gives_the_gradient_and_metrics_of_one_device(shape):
  (grads, metrics), state = trained(shape)
  (expected, expected_metrics), _ = trained((1, 1, 1))
  used = {d for x in jax.tree.leaves(state.params) for d in x.sharding.device_set}
  assert len(used) == np.prod(shape)
  scale = max(np.abs(x).max() for x in jax.tree.leaves(expected))
  assert scale > 1e-3
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * max(scale, 1)),
    grads,
    expected,
  )
  for key, value in expected_metrics.items():
    assert float(metrics[key]) == pytest.approx(float(value), rel=1e-4, abs=1e-5), key


@pytest.mark.parametrize('shape', [(2, 2, 1), (2, 1, 2)])
def test_a_mesh_draws_the_tokens_of_one_device(shape):
  samples, expected = drawn(shape), drawn((1, 1, 1))
  np.testing.assert_array_equal(samples.completion, expected.completion)
  np.testing.assert_allclose(samples.logp, expected.logp, atol=1e-5)
  assert len(np.unique(expected.completion.reshape(16, 4), axis=0)) > 8


def test_parameters_and_their_moments_are_split_alike():
  _, state = trained((2, 1, 2))
  query = ('layers', 'query')
  moments = state.opt_state[0]
  for tree in (state.params, moments.mu, moments.nu):
    leaf = tree[query[0]][query[1]]
    assert leaf.sharding.spec == PartitionSpec(None, 'fsdp', 'tensor', None)
    assert leaf.addressable_shards[0].data.shape == (1, 8, 2, 4)  # 4 heads over 2 devices
  assert moments.count.sharding.is_fully_replicated and state.step.sharding.is_fully_replicated


def test_like_params_follows_paths_and_shapes():
  mesh = sharding.make_mesh(2, 2, 1)
  tree = {'w': jnp.zeros((4, 2)), 'deep': {'w': jnp.zeros((4, 2))}}
  where = {
    'w': sharding.rows(mesh),
    'deep': {'w': jax.sharding.NamedSharding(mesh, PartitionSpec(None, 'fsdp'))},
  }
  state = {'mu': tree, 'factored': {'w': jnp.zeros(4)}, 'count': jnp.zeros(())}
  found = sharding.like_params(state, tree, where, mesh)
  assert found['mu'] == where
  assert found['factored']['w'] == found['count'] == sharding.replicated(mesh)


OPTIMIZERS = {
  'muon': training.optimizers.muon(0.1, MODEL.specs),
  'adafactor': training.optimizers.adafactor(0.1, MODEL.specs),  # all too small for factors
  'factored': training.optimizers.adafactor(0.1, MODEL.specs, least_side=8),
}


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize('name', OPTIMIZERS)
def test_any_optimizers_state_follows_its_parameters_and_its_step_is_that_of_one_device(name):
  tx = OPTIMIZERS[name]
  grads = jax.tree.map(jnp.cos, params())

  def stepped(mesh):
    where = sharding.params(MODEL.specs, mesh)
    placed, given = jax.device_put((params(), grads), (where, where))
    state_where = sharding.like_params(jax.eval_shape(tx.init, placed), placed, where, mesh)
    state = jax.jit(tx.init, out_shardings=state_where)(placed)

    def step(params, grads, state):
      updates, state = tx.update(grads, state, params)
      return optax.apply_updates(params, updates), state

    step = jax.jit(step, out_shardings=(where, state_where), compiler_options=QUICK)
    return step(placed, given, state)

  found, state = stepped(mesh_of(1, 2, 2))
  expected, _ = stepped(mesh_of(1, 1, 1))
  moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), expected, params())
  assert min(jax.tree.leaves(moved)) > 1e-3
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), found, expected)

  query = found['layers']['query']
  own = [
    x
    for path, x in jax.tree_util.tree_leaves_with_path(state)
    if jax.tree_util.keystr(path).endswith("['layers']['query']") and x.size > 1
  ]
  if name == 'factored':
    assert [x.shape for x in own] == [(1, 8), (1, 16)]  # rows and columns of [8, 4 * 4]
    assert all(x.sharding.is_fully_replicated for x in own)
  else:
    assert [x.shape for x in own] == [query.shape]
    assert (
      own[0].sharding.spec == query.sharding.spec == PartitionSpec(None, 'fsdp', 'tensor', None)
    )
    assert own[0].addressable_shards[0].data.shape == (1, 4, 2, 4)


def test_params_maps_logical_names_by_rules():
  mesh = sharding.make_mesh(2, 1, 2)
  specs = {'a': models.Spec((4, 6, 5), ('embed', 'heads', None), 1.0)}
  assert sharding.params(specs, mesh)['a'].spec == PartitionSpec('fsdp', 'tensor', None)
  ruled = sharding.params(specs, mesh, {'embed': 'tensor'})
  assert ruled['a'].spec == PartitionSpec('tensor', None, None)


def test_an_axis_that_does_not_divide_is_named():
  mesh = sharding.make_mesh(1, 1, 4)
  with pytest.raises(ValueError, match=r"key.* has 2 kv_heads.* 4 devices .*'tensor'"):
    sharding.params(MODEL.specs, mesh)


@pytest.mark.parametrize('shape', [(2, 1, 1), (3, 1, 1), (2, 2, 2)])
def test_a_mesh_must_use_every_device(shape):
  with pytest.raises(ValueError, match='but there are 4; their product must be 4'):
    sharding.make_mesh(*shape)


@pytest.mark.parametrize('shape', [(0, 1, 1), (-2, -2, 1)])
def test_mesh_sizes_must_be_positive(shape):
  with pytest.raises(ValueError, match='at least 1'):
    sharding.make_mesh(*shape)


def test_a_mesh_of_one_takes_the_first_device():
  mesh = sharding.make_mesh()
  assert mesh.devices.ravel().tolist() == jax.devices()[:1]
  assert mesh.axis_names == ('data', 'fsdp', 'tensor')


def test_one_size_may_be_what_the_others_leave():
  assert dict(sharding.make_mesh(fsdp=-1).shape) == {'data': 1, 'fsdp': 4, 'tensor': 1}
  assert dict(sharding.make_mesh(-1, 1, 2).shape) == {'data': 2, 'fsdp': 1, 'tensor': 2}
  with pytest.raises(ValueError, match=r'4 devices do not divide by the 3 .*tensor=3'):
    sharding.make_mesh(fsdp=-1, tensor=3)
  with pytest.raises(ValueError, match='one of them may be -1'):
    sharding.make_mesh(-1, -1, 1)


class Chip:
  """As much of a TPU device as a mesh asks for."""

  platform, device_kind, core_on_chip = 'tpu', 'TPU v4', 0

  def __init__(self, number, slice_index):
    self.id, self.slice_index, self.process_index = number, slice_index, slice_index
    self.coords = [number % 2, number // 2 % 2, 0]


def test_slices_are_joined_by_the_data_axis_alone():
  chips = [Chip(n, n // 4) for n in range(8)]
  grid = sharding.make_mesh(2, 2, 2, devices=chips).devices
  assert [{chip.slice_index for chip in part.flat} for part in grid] == [{0}, {1}]
  with pytest.raises(ValueError, match='multiple of the 2 slices'):
    sharding.make_mesh(1, 4, 2, devices=chips)


def test_rows_are_put_and_read_back_by_number():
  mesh = sharding.make_mesh(2, 1, 2)
  table = np.arange(12.0).reshape(6, 2)
  np.testing.assert_array_equal(sharding.local_rows(mesh, 6), np.arange(6))
  placed = sharding.from_local_rows(mesh, 6, {'x': table})['x']
  assert placed.sharding == sharding.rows(mesh)
  np.testing.assert_array_equal(sharding.to_local_rows(placed), table)
  np.testing.assert_array_equal(sharding.to_hosts(placed), table)


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize('shape', [(1, 4, 1), (1, 2, 2)])
def test_no_device_holds_the_activations_of_all_rows(shape):
  """Deep models scan over layers; there the compiler would rather split the width."""
  mesh = sharding.make_mesh(*shape)
  deep = dataclasses.replace(CONFIG, num_layers=6, dim=32, num_kv_heads=4)

  def activations(model):
    def loss(params, tokens):
      positions = models.token_positions(tokens)
      return model.apply(params, tokens, positions, None)[0].sum()

    tokens = jax.ShapeDtypeStruct((16, 7), jnp.int32, sharding=sharding.rows(mesh))
    params = jax.tree.map(
      lambda spec, where: jax.ShapeDtypeStruct(spec.shape, jnp.float32, sharding=where),
      model.specs,
      sharding.params(model.specs, mesh),
      is_leaf=is_spec,
    )
    grad = jax.jit(jax.grad(loss)).lower(params, tokens).compile(QUICK)
    return set(re.findall(r'f32\[(?:\d+,)?16,7,\d+\]', grad.as_text()))

  assert activations(models.decoder(deep))
  assert not activations(models.decoder(deep, sharding.hold_rows(mesh)))


def abstract_params(model, mesh):
  return jax.tree.map(
    lambda spec, where: jax.ShapeDtypeStruct(spec.shape, jnp.float32, sharding=where),
    model.specs,
    sharding.params(model.specs, mesh),
    is_leaf=is_spec,
  )


def abstract_batch(mesh):
  batch = Batch(
    prompt=np.zeros((8, 1, 4), np.int32),
    completion=np.zeros((8, 2, 16), np.int32),
    mask=np.zeros((8, 2, 16), np.float32),
  )
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding.rows(mesh)), batch
  )


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize('shape', [(1, 4, 1), (1, 2, 2)])
def test_the_head_travels_once_however_many_chunks_it_meets(shape):
  mesh = sharding.make_mesh(*shape)

  def gathered(model, chunk):
    score = training.make_score(model, chunk=chunk)
    grad = jax.jit(jax.grad(lambda params, batch: score(params, batch).logp.sum()))
    compiled = grad.lower(abstract_params(model, mesh), abstract_batch(mesh)).compile(QUICK)
    return hlo.collectives(compiled.as_text())['all-gather'].bytes

  held = models.decoder(CONFIG, sharding.hold_rows(mesh))
  assert gathered(held, 8) > gathered(held, 1024)
  local = models.decoder(CONFIG, sharding.hold_rows(mesh), sharding.by_rows(mesh))
  assert gathered(local, 8) == gathered(local, 1024)


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize('layers', [1, 9])  # unrolled, and a loop over layers
def test_with_gathered_weights_next_to_nothing_travels_for_a_token(layers):
  mesh = sharding.make_mesh(1, 4, 1)
  config = dataclasses.replace(CONFIG, num_layers=layers)
  model = models.decoder(config, sharding.hold_rows(mesh))
  prompt = jax.ShapeDtypeStruct((8, 4), jnp.int32, sharding=sharding.rows(mesh))

  def travels(model, length):
    def draw(params, prompt):
      return sampling.sample(
        model, params, prompt, jax.random.key(0), group_size=2, max_new_tokens=length, eos=1
      )

    jitted = jax.jit(draw, out_shardings=sharding.rows(mesh))
    compiled = jitted.lower(abstract_params(model, mesh), prompt).compile(QUICK)
    return sum(each.bytes for each in hlo.collectives(compiled.as_text()).values())

  gathered = sharding.gather_to_decode(model, mesh)
  extra, expected = (travels(each, 64) - travels(each, 4) for each in (gathered, model))
  assert extra < 0.01 * expected  # whether all rows are done


@pytest.mark.nightly
@pytest.mark.slow
def test_gathered_weights_draw_the_same_tokens_with_an_adapter_too():
  mesh = sharding.make_mesh(1, 2, 2)
  specs = lora.specs(MODEL.specs, rank=2, targets=('*',))
  adapter = jax.tree.map(jnp.ones_like, models.init(jax.random.key(1), specs))
  joined = lora.join(
    jax.device_put(params(), sharding.params(MODEL.specs, mesh)),
    jax.device_put(adapter, sharding.params(specs, mesh)),
    alpha=1.0,
  )
  prompt = jax.device_put(toys.problem(3, [2] * 8)['prompt'][::2], sharding.rows(mesh))
  found, expected = (
    jax.jit(
      lambda params, prompt, model=model: sampling.sample(
        model, params, prompt, jax.random.key(0), group_size=2, max_new_tokens=4, eos=1
      )
    )(joined, prompt)
    for model in (sharding.gather_to_decode(MODEL, mesh), MODEL)
  )
  np.testing.assert_array_equal(found.completion, expected.completion)
  np.testing.assert_allclose(found.logp, expected.logp, atol=1e-5)
