"""Schedules by their values, and optimizers against loops over layers in NumPy."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rljax import models
from rljax.training import optimizers


def values(schedule, steps):
  return [float(schedule(step)) for step in steps]


def test_constant_without_warmup_is_the_rate_from_the_first_step():
  assert values(optimizers.schedule(0.3), (0, 1, 1000)) == pytest.approx([0.3] * 3)


def test_warmup_rises_evenly_and_its_first_step_is_not_lost():
  rate = optimizers.schedule(0.4, warmup_steps=4)
  assert values(rate, range(7)) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.4, 0.4])


def test_one_step_of_warmup_is_no_warmup():
  assert values(optimizers.schedule(0.4, warmup_steps=1), range(3)) == pytest.approx([0.4] * 3)


@pytest.mark.parametrize('warmup', [0, 3])
def test_cosine_falls_to_zero_at_the_last_step(warmup):
  rate = optimizers.schedule(0.2, kind='cosine', warmup_steps=warmup, total_steps=11)
  steps = 11 - warmup
  expected = [0.2 * (i + 1) / warmup for i in range(warmup)]
  expected += [0.1 * (1 + math.cos(math.pi * i / steps)) for i in range(steps + 1)]
  assert values(rate, range(12)) == pytest.approx(expected, abs=1e-7)
  assert values(rate, (11, 50)) == pytest.approx([0.0, 0.0], abs=1e-8)


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ({'kind': 'linear'}, "'linear'; expected 'constant' or 'cosine'"),
    ({'kind': 'cosine', 'warmup_steps': 5, 'total_steps': 5}, '5 steps cannot hold 5 steps'),
    ({'kind': 'cosine'}, '0 steps'),
    ({'warmup_steps': -1}, 'warmup_steps is -1'),
  ],
)
def test_impossible_schedules_are_refused(arguments, message):
  with pytest.raises(ValueError, match=message):
    optimizers.schedule(0.1, **arguments)


PARAMS = {'a': np.float32([1.0, -2.0]), 'b': np.float32([[0.5]])}
GRADS = {'a': np.float32([3.0, 4.0]), 'b': np.float32([[-12.0]])}  # norm 13


def first_moment(tx):
  _, state = tx.update(GRADS, tx.init(PARAMS), PARAMS)
  adam = next(s for s in state[1] if isinstance(s, optax.ScaleByAdamState))
  return adam.mu


@pytest.mark.parametrize(('clip_norm', 'factor'), [(0.0, 1.0), (1.0, 1 / 13), (20.0, 1.0)])
def test_clip_norm_is_the_largest_global_norm_and_zero_means_none(clip_norm, factor):
  moment = first_moment(optimizers.adamw(0.1, b1=0.9, clip_norm=clip_norm))
  for name, grad in GRADS.items():
    np.testing.assert_allclose(moment[name], 0.1 * factor * grad, rtol=1e-5)


def test_three_steps_of_adamw_equal_loops():
  tx = optimizers.adamw(
    optimizers.schedule(0.1, warmup_steps=2),
    b1=0.8,
    b2=0.9,
    eps=1e-3,
    weight_decay=0.05,
    clip_norm=0.0,
  )
  params, state = PARAMS, tx.init(PARAMS)
  p, m, v = -2.0, 0.0, 0.0  # the second entry of `a`
  for step, rate in enumerate((0.05, 0.1, 0.1), start=1):
    updates, state = tx.update(GRADS, state, params)
    params = optax.apply_updates(params, updates)
    m, v = 0.8 * m + 0.2 * 4.0, 0.9 * v + 0.1 * 16.0
    direction = m / (1 - 0.8**step) / (math.sqrt(v / (1 - 0.9**step)) + 1e-3)
    p -= rate * (direction + 0.05 * p)
    assert float(params['a'][1]) == pytest.approx(p, rel=1e-5)


CONFIG = models.DecoderConfig(
  vocab_size=11,
  dim=12,
  num_layers=3,
  num_heads=4,
  num_kv_heads=2,
  head_dim=6,
  ff_dim=8,
  tied=False,
  qkv_bias=True,
)
SPECS = models.specs(CONFIG)
LORA = models.lora.specs(SPECS, rank=2)
# The sums are the same and the programs compile faster.
QUICK = {'xla_backend_optimization_level': 0}


def is_spec(x):
  return isinstance(x, models.Spec)


def arrays(specs, seed):
  rng = np.random.default_rng(seed)
  draw = lambda spec: np.float32(rng.normal(size=spec.shape))  # noqa: E731
  return jax.tree.map(draw, specs, is_leaf=is_spec)


def trained(tx, specs, steps, seed=1):
  """Parameters after steps on gradients drawn anew, those gradients, and the first parameters."""
  first = params = arrays(specs, seed)
  state, seen = tx.init(params), []
  update = jax.jit(tx.update, compiler_options=QUICK)
  for step in range(steps):
    seen.append(arrays(specs, 10 * seed + step))
    updates, state = update(seen[-1], state, params)
    params = optax.apply_updates(params, updates)
  return params, seen, first


def newton_schulz(x):
  """Five steps of the quintic iteration on one matrix in float64."""
  x = np.float64(x)
  x = x / (np.sqrt((x**2).sum()) + 1e-8)
  for _ in range(5):
    gram = x.T @ x if x.shape[0] > x.shape[1] else x @ x.T
    both = -4.7750 * gram + 2.0315 * gram @ gram
    x = 3.4445 * x + (x @ both if x.shape[0] > x.shape[1] else both @ x)
  return x


def slow_muon(p, grads, inputs, rate, decay):
  """Muon's steps on one matrix of any number of input and output axes."""
  shape, p, m = p.shape, np.float64(p), 0.0
  sides = (math.prod(shape[:inputs]), math.prod(shape[inputs:]))
  for t, g in enumerate(grads, start=1):
    m = 0.95 * m + 0.05 * np.float64(g)
    ahead = 0.95 * m / (1 - 0.95 ** (t + 1)) + 0.05 * g / (1 - 0.95**t)
    step = 0.2 * math.sqrt(max(sides)) * newton_schulz(ahead.reshape(sides)).reshape(shape)
    p = p - rate * (step + decay * p)
  return p


INPUTS = {'query': 1, 'key': 1, 'value': 1, 'attention_out': 2, 'gate': 1, 'up': 1, 'down': 1}


def test_muon_moves_every_matrix_of_every_layer_like_a_loop():
  tx = optimizers.muon(0.01, SPECS, weight_decay=0.1, clip_norm=0.0)
  params, grads, first = trained(tx, SPECS, 3)
  for name, inputs in INPUTS.items():
    for i in range(CONFIG.num_layers):
      own = [g['layers'][name][i] for g in grads]
      expected = slow_muon(first['layers'][name][i], own, inputs, 0.01, 0.1)
      np.testing.assert_allclose(params['layers'][name][i], expected, atol=2e-5, err_msg=name)
      assert np.abs(expected - first['layers'][name][i]).max() > 1e-3


def test_muon_leaves_all_that_is_no_projection_to_adamw():
  common = {'b1': 0.8, 'b2': 0.9, 'eps': 1e-6, 'weight_decay': 0.1, 'clip_norm': 0.0}
  found = trained(optimizers.muon(0.01, SPECS, **common), SPECS, 3)[0]
  expected = trained(optimizers.adamw(0.01, **common), SPECS, 3)[0]
  others = {name for name in SPECS['layers'] if name not in INPUTS}
  assert others == {'attention_norm', 'ff_norm', 'query_bias', 'key_bias', 'value_bias'}
  for name in ('embedding', 'head', 'final_norm'):
    np.testing.assert_allclose(found[name], expected[name], rtol=1e-6)
  for name in others:
    np.testing.assert_allclose(found['layers'][name], expected['layers'][name], rtol=1e-6)


def test_muon_takes_both_factors_of_an_adapter_for_matrices():
  params, grads, first = trained(optimizers.muon(0.01, LORA, clip_norm=0.0), LORA, 2)
  for name, inputs in INPUTS.items():
    for factor, sides in (('a', inputs), ('b', 1)):
      own = [g['layers'][name][factor][1] for g in grads]
      expected = slow_muon(first['layers'][name][factor][1], own, sides, 0.01, 0.0)
      np.testing.assert_allclose(params['layers'][name][factor][1], expected, atol=2e-5)


def test_muon_does_not_move_a_matrix_without_gradient():
  tx = optimizers.muon(0.01, LORA)
  params = arrays(LORA, 0)
  update = jax.jit(tx.update, compiler_options=QUICK)
  updates, _ = update(jax.tree.map(np.zeros_like, params), tx.init(params), params)
  assert all(not np.any(u) for u in jax.tree.leaves(updates))


def test_muon_without_a_projection_is_refused():
  with pytest.raises(ValueError, match='Muon needs projections'):
    optimizers.muon(0.1, {'w': models.Spec((4, 4), (None, None), 1.0)})


def slow_adafactor(p, grads, rate, factored):
  """Adafactor's steps on one matrix or vector in float64, with an absolute step size."""
  p, rows, columns, whole = np.float64(p), 0.0, 0.0, 0.0
  for t, g in enumerate(grads, start=1):
    g, kept = np.float64(g), 1 - t**-0.8
    rows = kept * rows + (1 - kept) * (g**2).mean(-1, keepdims=True)
    columns = kept * columns + (1 - kept) * (g**2).mean(0, keepdims=True)
    whole = kept * whole + (1 - kept) * g**2
    step = g / np.sqrt(rows * columns / rows.mean() if factored else whole)
    p = p - rate * step / max(1.0, np.sqrt((step**2).mean()))
  return p


def test_adafactor_moves_every_matrix_of_every_layer_like_a_loop():
  params, grads, first = trained(
    optimizers.adafactor(0.1, SPECS, least_side=8, clip_norm=0.0), SPECS, 3
  )
  for name, inputs in INPUTS.items():
    for i in range(CONFIG.num_layers):
      shape = first['layers'][name][i].shape
      sides = (math.prod(shape[:inputs]), math.prod(shape[inputs:]))
      own = [g['layers'][name][i].reshape(sides) for g in grads]
      expected = slow_adafactor(first['layers'][name][i].reshape(sides), own, 0.1, True)
      np.testing.assert_allclose(
        params['layers'][name][i], expected.reshape(shape), atol=1e-5, err_msg=name
      )
  for name in ('embedding', 'head'):
    expected = slow_adafactor(first[name], [g[name] for g in grads], 0.1, True)
    np.testing.assert_allclose(params[name], expected, atol=1e-5)
  for i in range(CONFIG.num_layers):
    own = [g['layers']['query_bias'][i] for g in grads]
    expected = slow_adafactor(first['layers']['query_bias'][i], own, 0.1, False)
    np.testing.assert_allclose(params['layers']['query_bias'][i], expected, atol=1e-5)


def test_adafactor_of_one_matrix_is_that_of_optax():
  specs = {'w': models.Spec((130, 140), (None, None), 1.0)}
  ours = optimizers.adafactor(0.1, specs, clip_norm=0.0)
  theirs = optax.adafactor(0.1, multiply_by_parameter_scale=False)
  for found, expected in zip(trained(ours, specs, 3), trained(theirs, specs, 3), strict=True):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, expected)


def test_adafactor_keeps_rows_and_columns_of_large_matrices_and_all_of_the_small_ones():
  config = dataclasses.replace(CONFIG, dim=128, num_heads=16, head_dim=16, ff_dim=200)
  specs = models.specs(config)
  state = jax.eval_shape(lambda: optimizers.adafactor(0.1, specs).init(start(specs)))
  shapes = {
    jax.tree_util.keystr(path): x.shape for path, x in jax.tree_util.tree_leaves_with_path(state)
  }

  def of(name):
    return {s for path, s in shapes.items() if path.endswith(name) and math.prod(s) > 3}

  n, d = config.num_layers, config.dim
  assert of("['query']") == {(n, d), (n, 256)}
  assert of("['attention_out']") == {(n, d), (n, 256)}
  assert of("['down']") == {(n, d), (n, 200)}
  assert of("['key']") == {specs['layers']['key'].shape}  # 2 heads of 16: a side below 128
  assert of("['embedding']") == {(11, d)}  # 11 words
  size = sum(math.prod(shape) for shape in shapes.values())
  assert size < models.count(specs) / 4


def start(specs):
  return models.init(jax.random.key(0), specs)


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize('make', [optimizers.muon, optimizers.adafactor])
@pytest.mark.parametrize('specs', [SPECS, LORA], ids=['all', 'adapter'])
def test_a_decoder_or_its_adapter_learns_a_sentence(make, specs):
  model = models.decoder(CONFIG)
  base = start(SPECS)
  policy = (lambda p: p) if specs is SPECS else (lambda p: models.lora.join(base, p, alpha=4.0))
  tokens = jnp.asarray([[1, 7, 3, 9, 2, 8, 4, 10]])

  def loss(params):
    logits = model.apply(policy(params), tokens, models.token_positions(tokens))[0][:, :-1]
    logp = jax.nn.log_softmax(logits)
    return -jnp.take_along_axis(logp, tokens[:, 1:, None], axis=-1).mean()

  tx = make(0.03, specs)
  params = start(specs)
  state = tx.init(params)

  @functools.partial(jax.jit, compiler_options=QUICK)
  def step(params, state):
    value, grads = jax.value_and_grad(loss)(params)
    updates, state = tx.update(grads, state, params)
    return optax.apply_updates(params, updates), state, value

  values = []
  for _ in range(30):
    params, state, value = step(params, state)
    values.append(float(value))
  assert values[-1] < 0.5 * values[0]
