"""Adapters on a quantized base: the dense model of the same numbers, in a fraction of the bytes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toys

from rljax import methods, models, sampling, training
from rljax.models import lora, quantized
from rljax.types import Batch

pytest.importorskip('qwix')

CONFIG = models.DecoderConfig(
  vocab_size=12,
  dim=32,
  num_layers=2,
  num_heads=4,
  num_kv_heads=2,
  head_dim=16,
  ff_dim=64,
)
MODELS = {
  'unrolled': models.decoder(CONFIG),
  'scanned': models.decoder(dataclasses.replace(CONFIG, num_layers=5)),
}
PROJECTIONS = ('query', 'key', 'value', 'attention_out', 'gate', 'up', 'down')
# The sums are the same and the programs compile in half the time.
QUICK = {'xla_backend_optimization_level': 0}
TOKENS = np.random.default_rng(1).integers(0, CONFIG.vocab_size, (3, 7)).astype(np.int32)
each_kind = pytest.mark.parametrize('kind', ['int8', 'nf4'])


def adapter_of(model):
  tree = lora.specs(model.specs, rank=2)
  rng = np.random.default_rng(2)
  return jax.tree.map(
    lambda spec: jnp.float32(0.2 * rng.normal(size=spec.shape)),
    tree,
    is_leaf=lambda x: isinstance(x, models.Spec),
  )


def logits(model, params, cache=None):
  positions = models.token_positions(TOKENS)
  return jax.jit(model.apply, compiler_options=QUICK)(params, TOKENS, positions, cache)[0]


@each_kind
@pytest.mark.parametrize('depth', MODELS)
def test_it_computes_what_the_expanded_weights_do(kind, depth):
  model = MODELS[depth]
  base = quantized.quantize(models.init(jax.random.key(0), model.specs), kind, block=16)
  joined = lora.join(base, adapter_of(model), alpha=4.0)
  merged = lora.merge(joined)
  assert all(isinstance(merged['layers'][name], jax.Array) for name in PROJECTIONS)
  expected = logits(model, merged)
  np.testing.assert_allclose(logits(model, joined), expected, atol=3e-5)
  cached = logits(model, joined, model.init_cache(*TOKENS.shape))
  np.testing.assert_allclose(cached, expected, atol=3e-5)
  assert np.abs(expected - logits(model, base)).max() > 0.1


@each_kind
def test_errors_and_bytes_are_those_of_the_format(kind):
  base = models.init(jax.random.key(0), MODELS['unrolled'].specs)
  small = quantized.quantize(base, kind, block=16)
  assert small['embedding'] is base['embedding']
  bits, error = {'int8': (8, 0.01), 'nf4': (4, 0.1)}[kind]
  for name in PROJECTIONS:
    weight, original = small['layers'][name], base['layers'][name]
    array = weight.array
    assert jnp.iinfo(array.qvalue.dtype).bits == bits and array.scale.size * 16 <= original.size
    difference = np.linalg.norm(weight.dense() - original) / np.linalg.norm(original)
    assert 0 < difference < error


@each_kind
def test_sampler_scorer_and_train_step_take_it(kind):
  model, tx, method = MODELS['scanned'], optax.adam(0.1), methods.grpo()
  base = quantized.quantize(models.init(jax.random.key(0), model.specs), kind, block=16)
  adapter = adapter_of(model)
  params = lora.join(base, adapter, alpha=4.0)
  problem = toys.problem(3, [2] * 4)
  samples = jax.jit(
    lambda params: sampling.sample(
      model, params, problem['prompt'][::2], jax.random.key(0),
      group_size=2, max_new_tokens=4, eos=1,
    ),
    compiler_options=QUICK,
  )(params)  # fmt: skip
  batch = Batch(prompt=problem['prompt'][::2][:, None], completion=samples.completion)
  score = training.make_score(model)
  found = jax.jit(score, compiler_options=QUICK)(params, batch)
  np.testing.assert_allclose(found.logp, samples.logp, atol=2e-5)

  def step(state, base, batch, expand=False):
    def policy(adapter, rows):
      params = lora.join(base, adapter, alpha=4.0)
      return score(lora.merge(params) if expand else params, rows)

    return training.make_train_step(policy, method, tx)(state, batch)

  batch = method.prepare((), toys.as_batch(problem, 'groups'))[1]
  run = jax.jit(step, static_argnames='expand', compiler_options=QUICK)
  state = training.init_state(adapter, tx, method)
  (after, metrics), (expected, _) = (run(state, base, batch, expand=e) for e in (False, True))
  assert metrics['grad_norm'] > 1e-3 and metrics['nonfinite_grads'] == 0
  moments, expected = after.opt_state[0].mu, expected.opt_state[0].mu
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), moments, expected)


def test_another_kind_is_refused():
  with pytest.raises(ValueError, match="expected 'int8' or 'nf4'"):
    quantized.quantize({}, 'fp3')
