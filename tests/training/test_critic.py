"""Values of a batch and the critic's train step: which token, any layout, any cut, any mesh."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toys

from rljax import aggregation, methods, models, training
from rljax.training import sharding
from rljax.types import Batch

CONFIG = models.DecoderConfig(
  vocab_size=toys.VOCAB + 1,  # divides over two devices
  dim=8,
  num_layers=2,
  num_heads=2,
  num_kv_heads=2,
  head_dim=4,
  ff_dim=8,
)
MODEL = models.decoder(CONFIG)
PROBLEM = toys.problem(3, [4] * 8)
METHOD = methods.ppo(lam=0.9)
QUICK = {'xla_backend_optimization_level': 0}


def params_of(seed=0):
  """Parameters of a value model that says something."""
  rng = np.random.default_rng(seed)
  return jax.tree.map(
    lambda spec: np.float32(0.4 * rng.normal(size=spec.shape)),
    models.value_model(MODEL).specs,
    is_leaf=lambda x: isinstance(x, models.Spec),
  )


PARAMS = params_of()
VALUES = jax.jit(training.make_value(MODEL), compiler_options=QUICK)


def prepared(layout='groups', params=PARAMS):
  batch = toys.as_batch(PROBLEM, layout)
  batch = batch.replace(extras={**batch.extras, 'old_values': VALUES(params_of(1), batch)})
  return METHOD.prepare((), batch)[1]


def test_a_value_is_of_the_state_before_its_token():
  """Sequence by sequence, without padding: the activations at the token before."""
  batch = toys.as_batch(PROBLEM, 'rows')
  found = np.asarray(VALUES(PARAMS, batch))
  for i in range(0, len(found), 5):
    prompt, completion = (x[x >= 0] for x in (PROBLEM['prompt'][i], PROBLEM['completion'][i]))
    tokens = np.concatenate([prompt, completion])[None]
    x, _ = MODEL.features(PARAMS, tokens, models.token_positions(tokens))
    expected = np.asarray(x[0, len(prompt) - 1 : -1] @ PARAMS['value_head'])
    np.testing.assert_allclose(found[i, : len(completion)], expected, atol=1e-5)
    assert (found[i, len(completion) :] == 0).all() and np.abs(expected).max() > 0.05


def test_values_do_not_see_the_token_that_they_stand_at():
  completion = np.array(PROBLEM['completion'])
  there = completion[:, 2] >= 0
  completion[there, 2] = (completion[there, 2] + 1) % toys.VOCAB
  batch, other = (
    toys.as_batch(p, 'rows') for p in (PROBLEM, {**PROBLEM, 'completion': completion})
  )
  a, b = VALUES(PARAMS, batch), VALUES(PARAMS, other)
  np.testing.assert_allclose(a[:, :3], b[:, :3], atol=1e-6)
  assert np.abs(a[:, 3:] - b[:, 3:]).max() > 1e-3


def test_both_layouts_and_packed_rows_give_the_same_values_and_gradients():
  def loss(params, batch):
    found = training.make_value(MODEL)(params, batch)
    return jnp.sum(jnp.sin(found)), found

  grad = jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=QUICK)
  rows, groups = (toys.as_batch(PROBLEM, layout) for layout in ('rows', 'groups'))
  (_, expected), slopes = grad(PARAMS, rows)
  for batch in (groups, training.pack_completions(groups, 2)):
    (_, found), found_slopes = grad(PARAMS, batch)
    np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=1e-5)
    for a, b in zip(jax.tree.leaves(found_slopes), jax.tree.leaves(slopes), strict=True):
      np.testing.assert_allclose(a, b, atol=2e-5 * max(float(np.abs(b).max()), 1e-3))
  assert np.abs(expected).max() > 0.1


@functools.cache
def critic_step(parts):
  step = training.make_critic_step(training.make_value(MODEL), METHOD, optax.sgd(1.0), parts)
  return jax.jit(step, compiler_options=QUICK)


@pytest.mark.nightly
@pytest.mark.slow
def test_a_step_is_that_of_the_whole_batch_for_any_cut():
  batch = prepared()
  weights = aggregation.token_mean(batch)

  def loss(params):
    v = training.make_value(MODEL)(params, batch)
    old, returns = batch.extras['old_values'], batch.extras['returns']
    held = old + jnp.clip(v - old, -0.5, 0.5)
    return 0.5 * jnp.sum(weights * jnp.maximum((v - returns) ** 2, (held - returns) ** 2))

  value, slopes = jax.jit(jax.value_and_grad(loss), compiler_options=QUICK)(PARAMS)
  wanted = jax.tree.map(lambda p, g: p - g, PARAMS, slopes)
  explained = float(batch.constants['explained_variance'])
  for parts in (1, 2, 4):
    state, metrics = critic_step(parts)(training.init_state(PARAMS, optax.sgd(1.0)), batch)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), state.params, wanted)
    assert set(metrics) == {
      'loss', 'loss/value', 'loss/explained_variance', 'grad_norm', 'nonfinite_grads', 'skipped',
    }  # fmt: skip
    assert float(metrics['loss']) == pytest.approx(float(value), rel=1e-5)
    assert float(metrics['loss/explained_variance']) == pytest.approx(explained, rel=1e-5)
    assert float(metrics['grad_norm']) == pytest.approx(float(optax.global_norm(slopes)), rel=1e-5)
    assert int(state.step) == 1
  assert float(optax.global_norm(slopes)) > 0.05


@pytest.mark.nightly
@pytest.mark.slow
def test_methods_on_two_batches_train_one_critic():
  two = methods.together(first=METHOD, second=METHOD)
  batches = {'first': prepared(), 'second': prepared().replace(keep=jnp.zeros((8, 4)))}

  def values(params, batches):
    return {name: training.make_value(MODEL)(params, batch) for name, batch in batches.items()}

  tx = optax.sgd(1.0)
  step = jax.jit(training.make_critic_step(values, two, tx, 2), compiler_options=QUICK)
  state, metrics = step(training.init_state(PARAMS, tx), batches)
  expected, wanted = critic_step(2)(training.init_state(PARAMS, tx), batches['first'])
  assert float(metrics['loss/second_value']) == 0
  assert float(metrics['loss/first_value']) == pytest.approx(float(wanted['loss']), rel=1e-5)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), state.params, expected.params
  )


def test_a_gradient_that_is_not_finite_is_not_applied():
  batch = prepared()
  returns = batch.extras['returns'].at[0, 0, 0].set(jnp.inf)
  state = training.init_state(PARAMS, optax.sgd(1.0))
  same, metrics = critic_step(2)(state, batch.replace(extras=batch.extras | {'returns': returns}))
  assert float(metrics['skipped']) == 1
  jax.tree.map(np.testing.assert_array_equal, same.params, state.params)


def test_a_method_without_a_critic_is_refused():
  with pytest.raises(ValueError, match=r"has no critic, only terms of the policy: .*'policy'"):
    training.make_critic_step(training.make_value(MODEL), methods.grpo(), optax.sgd(1.0))


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize('mesh', [(2, 2, 1), (1, 2, 2)])
def test_four_devices_give_the_steps_of_one(mesh):
  mesh = sharding.make_mesh(*mesh)
  model = models.decoder(CONFIG, sharding.hold_rows(mesh), sharding.by_rows(mesh))
  tx, specs = optax.adam(1e-2), models.value_model(MODEL).specs
  batch = prepared()
  alone = jax.jit(training.make_critic_step(training.make_value(MODEL), METHOD, tx, 2))
  start = training.init_state(jax.tree.map(jnp.asarray, PARAMS), tx)
  where = sharding.like_params(start, start.params, sharding.params(specs, mesh), mesh)
  step = jax.jit(
    training.make_critic_step(training.make_value(model), METHOD, tx, 2),
    out_shardings=(where, None),
  )
  rows = jax.device_put(batch.replace(constants={}), sharding.rows(mesh)).replace(
    constants=jax.device_put(batch.constants, sharding.replicated(mesh))
  )
  state, expected = jax.device_put(start, where), start
  for _ in range(3):
    state, metrics = step(state, rows)
    expected, wanted = alone(expected, batch)
    for name in wanted:
      assert float(metrics[name]) == pytest.approx(float(wanted[name]), rel=1e-5, abs=1e-6), name
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), state.params, expected.params
  )
  split = state.params['layers']['query'].sharding
  assert not split.is_fully_replicated
  moments = state.opt_state[0].mu['layers']['query'].sharding
  assert moments.is_equivalent_to(split, 4)


def test_a_critic_learns_the_values_of_two_states():
  """Word w earns w, or w + 4 with chance 3/4, and the first token says which.

  So the value before it is w + 3, and before the second token it is what will be earned.
  """
  tx = training.optimizers.adamw(1e-2)
  step = jax.jit(
    training.make_critic_step(training.make_value(MODEL), methods.ppo(value_clip=0.0), tx),
    donate_argnums=0,
  )
  prepare = jax.jit(methods.ppo().prepare)
  policy = models.init(jax.random.key(0), MODEL.specs)
  state = training.init_state(jax.tree.map(jnp.copy, models.value_params(policy)), tx)
  rng = np.random.default_rng(0)
  explained = []
  for _ in range(150):
    prompt = rng.integers(0, 4, (16, 1, 1))
    high = rng.random((16, 4)) < 0.75
    rewards = np.float32(prompt[:, 0] + 4 * high)
    completion = np.stack([np.where(high, 9, 8), rng.integers(0, 8, (16, 4))], axis=-1)
    batch = Batch(
      prompt=jnp.int32(prompt),
      completion=jnp.int32(completion),
      mask=jnp.ones((16, 4, 2)),
      rewards=jnp.asarray(rewards),
    )
    batch = batch.replace(extras={'old_values': VALUES(state.params, batch)})
    _, batch = prepare((), batch)
    state, metrics = step(state, batch)
    explained.append(float(metrics['loss/explained_variance']))
  words = np.arange(4)
  batch = Batch(
    prompt=jnp.int32(words[:, None, None]),
    completion=jnp.int32(np.broadcast_to([[8, 0], [9, 0]], (4, 2, 2))),
  )
  found = np.asarray(VALUES(state.params, batch))
  np.testing.assert_allclose(found[..., 0], np.tile(words[:, None] + 3.0, (1, 2)), atol=0.6)
  np.testing.assert_allclose(found[..., 1], words[:, None] + [0.0, 4.0], atol=0.6)
  assert explained[0] == 0.0  # the head starts at zero
  # At half of the tokens 3 of the variance of 1.25 + 3 cannot be known.
  assert np.mean(explained[-10:]) == pytest.approx(1 - 0.5 * 3 / 4.25, abs=0.1)
