"""The supervised step on packed rows against the same examples one by one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rljax import data, models, training

CONFIG = models.DecoderConfig(
  vocab_size=11,
  dim=8,
  num_layers=1,
  num_heads=2,
  num_kv_heads=1,
  head_dim=4,
  ff_dim=8,
)
MODEL = models.decoder(CONFIG)
RNG = np.random.default_rng(0)
PARAMS = jax.tree.map(
  lambda spec: np.float32(RNG.normal(size=spec.shape)),
  MODEL.specs,
  is_leaf=lambda x: isinstance(x, models.Spec),
)
EXAMPLES = [
  (RNG.integers(0, 11, n), RNG.integers(0, 11, m)) for n, m in [(3, 4), (1, 2), (2, 1), (4, 4)]
]
TX = optax.sgd(0.1)


@functools.cache
def step(microbatches=1):
  return jax.jit(training.make_supervised_step(MODEL, TX, microbatches))


def packed(examples, rows=2, width=12):
  batch, used = data.pack(examples, rows, width)
  assert used == len(examples)
  return batch


def update(batch, params=PARAMS):
  return step()(training.init_state(params, TX), batch)


@functools.cache
def one_by_one():
  """Mean loss of the targets, share of right ones, and gradient, from rows of one example each."""
  tokens = np.full((len(EXAMPLES), 8), -1)
  targets = np.zeros(tokens.shape, np.float32)
  for row, target, (prompt, completion) in zip(tokens, targets, EXAMPLES, strict=True):
    size = len(prompt) + len(completion)
    row[:size] = np.concatenate([prompt, completion])
    target[len(prompt) : size] = 1.0

  def loss(params):
    logits, _ = MODEL.apply(params, tokens, models.token_positions(jnp.asarray(tokens)))
    logp = jax.nn.log_softmax(logits)[:, :-1]
    taken = jnp.take_along_axis(logp, jnp.maximum(tokens[:, 1:], 0)[..., None], axis=-1)[..., 0]
    right = (logp.argmax(-1) == tokens[:, 1:]) * targets[:, 1:]
    return -jnp.sum(taken * targets[:, 1:]) / targets.sum(), right.sum() / targets.sum()

  return jax.jit(jax.value_and_grad(loss, has_aux=True))(PARAMS)


def test_packed_rows_give_loss_accuracy_and_update_of_single_examples():
  (loss, right), grads = one_by_one()
  state, metrics = update(packed(EXAMPLES))
  assert float(metrics['loss']) == pytest.approx(float(loss), rel=1e-5)
  assert float(metrics['token_accuracy']) == pytest.approx(float(right), abs=1e-6)
  assert float(metrics['grad_norm']) == pytest.approx(float(optax.global_norm(grads)), rel=1e-4)
  assert int(state.step) == 1
  for new, old, grad in zip(*map(jax.tree.leaves, (state.params, PARAMS, grads)), strict=True):
    np.testing.assert_allclose(new, old - 0.1 * grad, atol=1e-5)


def test_microbatches_give_the_update_of_the_whole_batch():
  batch = packed(EXAMPLES, rows=4)
  batch['mask'][1] = 0  # so that parts hold different numbers of targets
  state = training.init_state(PARAMS, TX)
  whole, metrics = step()(state, batch)
  for parts in (2, 4):
    cut, seen = step(parts)(state, batch)
    for new, old in zip(*map(jax.tree.leaves, (cut.params, whole.params)), strict=True):
      np.testing.assert_allclose(new, old, rtol=1e-5, atol=1e-6)
    for name in metrics:
      np.testing.assert_allclose(seen[name], metrics[name], rtol=1e-5, err_msg=name)
  with pytest.raises(ValueError, match='4 does not divide into 3 microbatches'):
    step(3)(state, batch)


def test_the_order_of_packing_does_not_matter():
  loss = update(packed(EXAMPLES))[1]['loss']
  again = update(packed(EXAMPLES[::-1]))[1]['loss']
  assert float(again) == pytest.approx(float(loss), rel=1e-5)


def test_an_example_without_a_prompt_is_not_predicted_from_its_neighbour():
  """The first token of an example has nothing before it, so it is no target."""
  first, second = EXAMPLES[0], (np.zeros(0, int), np.array([5, 6, 7]))
  same, other = (
    packed([first, (second[0], np.array([w, 6, 7]))], rows=2, width=12) for w in (5, 9)
  )
  assert same['segments'][0, 7] == 1 and same['mask'][0, 7] == 1
  alone = packed([second], rows=2, width=12)
  without = packed([first], rows=2, width=12)
  counts = {'both': 6, 'first': 4, 'second': 2}
  loss = {
    'both': float(update(same)[1]['loss']),
    'first': float(update(without)[1]['loss']),
    'second': float(update(alone)[1]['loss']),
  }
  total = counts['first'] * loss['first'] + counts['second'] * loss['second']
  assert counts['both'] * loss['both'] == pytest.approx(total, rel=1e-5)
  assert float(update(other)[1]['loss']) != pytest.approx(loss['both'], rel=1e-3)


def test_rows_without_targets_change_nothing():
  batch = packed(EXAMPLES)
  state, metrics = update({**batch, 'mask': np.zeros_like(batch['mask'])})
  assert {k: float(v) for k, v in metrics.items()} == {
    'loss': 0.0,
    'nonfinite_grads': 0.0,
    'skipped': 0.0,
    'token_accuracy': 0.0,
    'grad_norm': 0.0,
  }
  jax.tree.map(np.testing.assert_array_equal, state.params, PARAMS)


def test_steps_lower_the_loss_and_keep_the_methods_state():
  state = training.init_state(PARAMS, TX).replace(method_state={'kept': jnp.float32(3)})
  seen = []
  for _ in range(8):
    state, metrics = step()(state, packed(EXAMPLES))
    seen.append(float(metrics['loss']))
  assert seen[-1] < 0.7 * seen[0]
  assert int(state.step) == 8 and float(state.method_state['kept']) == 3
