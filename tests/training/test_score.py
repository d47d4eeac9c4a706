"""The scorer: which token a log-probability belongs to, temperature, padding, both layouts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys

from rljax import models, training
from rljax.types import Batch

P = toys.problem(0, [3, 3, 3])
PARAMS = toys.table(0)


def score(params, batch, **kwargs):
  return jax.jit(training.make_score(toys.TABLE, **kwargs))(params, batch)


@pytest.mark.parametrize('temperature', [1.0, 0.6])
def test_log_probabilities_and_entropies_equal_loops(temperature):
  scores = score(PARAMS, toys.as_batch(P, 'rows'), temperature=temperature)
  logp = toys.slow_logp(PARAMS, P['prompt'], P['completion'], temperature)
  entropy = toys.slow_entropy(PARAMS, P['prompt'], P['completion'], temperature)
  np.testing.assert_allclose(scores.logp, logp, atol=1e-5)
  np.testing.assert_allclose(scores.entropy, entropy, atol=1e-5)
  nothing = P['completion'] < 0
  assert nothing.any() and (np.asarray(scores.logp)[nothing] == 0).all()
  assert (np.asarray(scores.entropy)[nothing] == 0).all()


def test_both_layouts_give_the_same():
  groups, rows = (score(PARAMS, toys.as_batch(P, layout)) for layout in ('groups', 'rows'))
  assert groups.logp.shape == (3, 3, 5)
  np.testing.assert_array_equal(groups.logp.reshape(9, 5), rows.logp)
  np.testing.assert_array_equal(groups.entropy.reshape(9, 5), rows.entropy)


def test_a_planted_token_is_found_where_it_stands():
  """Word 7 follows word 3 with certainty and nothing else does; a shift by one would show."""
  table = np.zeros((toys.VOCAB, toys.VOCAB), np.float32)
  table[3, 7] = 60.0
  prompt = np.int32([[-1, 1, 2], [1, 2, 3]])
  completion = np.int32([[4, 3, 7, 5, -1], [7, 3, 6, 7, 3]])
  logp = np.asarray(score({'table': table}, Batch(prompt=prompt, completion=completion)).logp)
  chance = -np.log(toys.VOCAB)
  expected = [[chance, chance, 0, chance, 0], [0, chance, -60, chance, chance]]
  np.testing.assert_allclose(logp, expected, atol=1e-5)


def a_decoder(**changes):
  config = models.DecoderConfig(
    vocab_size=toys.VOCAB,
    num_heads=2,
    num_kv_heads=1,
    head_dim=4,
    **{'dim': 8, 'num_layers': 1, 'ff_dim': 8, **changes},
  )
  model = models.decoder(config)
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda spec: np.float32(rng.normal(size=spec.shape)),
    model.specs,
    is_leaf=lambda x: isinstance(x, models.Spec),
  )
  return model, params


@pytest.mark.parametrize(
  'changes', [{}, {'num_layers': 5}, {'num_layers': 2, 'windows': (3, 0)}], ids=str
)
def test_prompts_computed_once_give_the_scores_and_gradients_of_prompts_repeated(changes):
  """`(P, G)` shares each prompt among its completions; rows repeat it."""
  model, params = a_decoder(**changes)
  params = jax.tree.map(lambda x: 0.3 * x, params)
  fn = training.make_score(model)

  def loss(params, batch):
    scores = fn(params, batch)
    return jnp.sum(jnp.sin(scores.logp) + 0.3 * scores.entropy), scores

  grad = jax.jit(jax.value_and_grad(loss, has_aux=True))
  ((_, shared), shared_grads), ((_, plain), plain_grads) = (
    grad(params, toys.as_batch(P, layout)) for layout in ('groups', 'rows')
  )
  assert (P['prompt'] < 0).any() and (P['completion'] < 0).any()
  np.testing.assert_allclose(shared.logp.reshape(9, 5), plain.logp, atol=1e-5)
  np.testing.assert_allclose(shared.entropy.reshape(9, 5), plain.entropy, atol=1e-5)
  for a, b in zip(jax.tree.leaves(shared_grads), jax.tree.leaves(plain_grads), strict=True):
    assert np.abs(b).max() > 0
    np.testing.assert_allclose(a, b, atol=2e-5 * float(np.abs(b).max()))


def test_sharing_saves_the_prompts_repeated():
  """Eight completions of a token after a prompt of 64: rows cost 4 times the arithmetic."""
  model, params = a_decoder(dim=32, ff_dim=64)
  prompt, completion = np.ones((2, 1, 64), np.int32), np.ones((2, 8, 9), np.int32)
  rows = Batch(prompt=np.repeat(prompt[:, 0], 8, axis=0), completion=completion.reshape(16, 9))
  fn = jax.jit(training.make_score(model))
  shared, plain = (
    fn.lower(params, batch).compile().cost_analysis()['flops']
    for batch in (Batch(prompt=prompt, completion=completion), rows)
  )
  assert shared < 0.35 * plain


def test_further_statistics_are_read_from_the_same_tempered_logits():
  largest = lambda logits, targets: logits.max(-1)  # noqa: E731
  scores = score(PARAMS, toys.as_batch(P, 'rows'), temperature=0.5, statistics={'largest': largest})
  plain = score(PARAMS, toys.as_batch(P, 'rows'), statistics={'largest': largest})
  np.testing.assert_allclose(scores.extras['largest'], 2 * plain.extras['largest'], rtol=1e-6)
  assert np.abs(scores.extras['largest']).max() > 0


def test_padding_changes_nothing_with_a_decoder():
  model, params = a_decoder()
  fn = jax.jit(training.make_score(model))
  plain = fn(params, Batch(prompt=P['prompt'], completion=P['completion']))
  padded = fn(
    params,
    Batch(
      prompt=np.pad(P['prompt'], ((0, 0), (3, 0)), constant_values=-1),
      completion=np.pad(P['completion'], ((0, 0), (0, 2)), constant_values=-1),
    ),
  )
  for name in ('logp', 'entropy'):
    x, y = getattr(plain, name), getattr(padded, name)
    np.testing.assert_allclose(y[:, :5], x, atol=2e-5)
    assert (np.asarray(y)[:, 5:] == 0).all() and np.abs(x).max() > 0.5


@pytest.mark.parametrize('temperature', [0.0, -1.0])
def test_a_temperature_that_is_not_positive_is_refused(temperature):
  with pytest.raises(ValueError, match='must be positive'):
    training.make_score(toys.TABLE, temperature=temperature)
