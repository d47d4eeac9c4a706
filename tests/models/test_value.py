"""The value model: the decoder's activations under a head of one number."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys

from rljax import models

CONFIG = models.DecoderConfig(
  vocab_size=12,
  dim=8,
  num_layers=2,
  num_heads=2,
  num_kv_heads=1,
  head_dim=6,
  ff_dim=10,
)
TOKENS = np.random.default_rng(1).integers(0, CONFIG.vocab_size, (3, 7)).astype(np.int32)
POSITIONS = models.token_positions(TOKENS)


def initial(key, specs):
  return jax.jit(lambda key: models.init(key, specs))(key)


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize('tied', [True, False])
def test_its_parameters_are_the_policys_but_for_the_head(tied):
  policy = models.decoder(dataclasses.replace(CONFIG, tied=tied))
  model = models.value_model(policy)
  params = initial(jax.random.key(0), policy.specs)
  found = models.value_params(params)
  expected = {name: leaf for name, leaf in params.items() if name != 'head'}
  jax.tree.map(
    np.testing.assert_array_equal, found, expected | {'value_head': np.zeros(CONFIG.dim)}
  )
  shapes = jax.tree.map(
    lambda spec: spec.shape, model.specs, is_leaf=lambda x: isinstance(x, models.Spec)
  )
  assert jax.tree.map(jnp.shape, found) == shapes
  assert models.count(model.specs) == models.count(policy.specs) + 8 - (not tied) * 8 * 12


def test_a_value_is_the_product_of_the_head_and_the_activations():
  policy = models.decoder(CONFIG)
  model = models.value_model(policy)
  params = models.value_params(initial(jax.random.key(0), policy.specs))
  values, _ = jax.jit(model.apply)(params, TOKENS, POSITIONS)
  assert values.shape == (3, 7, 1)
  np.testing.assert_array_equal(values, 0.0)
  params['value_head'] = np.random.default_rng(0).normal(size=CONFIG.dim).astype(np.float32)
  x, _ = jax.jit(policy.features)(params, TOKENS, POSITIONS)
  values, _ = jax.jit(model.apply)(params, TOKENS, POSITIONS)
  np.testing.assert_allclose(values[..., 0], np.float64(x) @ params['value_head'], atol=1e-4)
  assert np.abs(values).max() > 0.5


def test_a_value_is_not_rounded_to_the_type_of_the_activations():
  model = models.value_model(models.decoder(dataclasses.replace(CONFIG, dtype='bfloat16')))
  x = jnp.ones((1, CONFIG.dim), jnp.bfloat16)
  head = jnp.full((CONFIG.dim,), 1 + 2**-10)
  value = model.unembed({'value_head': head}, x)
  assert value.dtype == jnp.float32 and float(value[0, 0]) == CONFIG.dim * (1 + 2**-10)


def test_a_model_without_activations_is_refused():
  with pytest.raises(ValueError, match=r'needs model.features'):
    models.value_model(toys.TABLE)
