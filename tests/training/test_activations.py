"""Numbers from the activations: which ones, in every layout, without gradient and without cost."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toys

from rljax import methods, models, training
from rljax.training import sharding

P = toys.problem(0, [3, 3, 3, 3])
CONFIG = models.DecoderConfig(
  vocab_size=toys.VOCAB, dim=8, num_layers=2, num_heads=2, num_kv_heads=1, head_dim=4, ff_dim=8
)
MODEL = models.decoder(CONFIG)
PARAMS = models.init(jax.random.key(3), MODEL.specs)


def spread(x, real):
  """Entropy of the singular values: a number a completion whose gradient is NaN on padding."""
  s = jnp.linalg.svd((x - x.sum(0, keepdims=True) / real.sum()) * real[:, None], compute_uv=False)
  p = s / (jnp.sum(s) + 1e-8)
  return -jnp.sum(p * jnp.log(p + 1e-8))


def size(x, real):
  """A number a token, and something else where there is none."""
  return jnp.linalg.norm(x, axis=-1) + 7 * (1 - real)


def ends(x, real):
  """Two numbers a completion: of what its first and its last token were predicted from."""
  return jnp.stack([x[0, 0], x[jnp.int32(real.sum()) - 1, 0]])


FEATURES = {'spread': spread, 'size': size, 'ends': ends}


def slow():
  """All of them, completion by completion, none of them padded."""
  spreads, sizes, both = [], np.full(P['completion'].shape, 7.0), []
  for i, (prompt, completion) in enumerate(zip(P['prompt'], P['completion'], strict=True)):
    prompt, completion = prompt[prompt >= 0], completion[completion >= 0]
    tokens = np.concatenate([prompt, completion])[None]
    x, _ = MODEL.features(PARAMS, tokens, np.arange(tokens.size)[None], None)
    x = np.float64(x[0, len(prompt) - 1 : -1])
    s = np.linalg.svd(x - x.mean(0), compute_uv=False)
    p = s / (s.sum() + 1e-8)
    spreads.append(-(p * np.log(p + 1e-8)).sum())
    sizes[i, : len(x)] = np.sqrt((x**2).sum(-1))
    both.append([x[0, 0], x[-1, 0]])
  return {'spread': np.array(spreads), 'size': sizes, 'ends': np.array(both)}


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize('layout', ['rows', 'groups', 'packed', 'packed on a mesh', 'on a mesh'])
def test_features_are_those_of_each_completion_alone(layout):
  model, params = MODEL, PARAMS
  batch = toys.as_batch(P, 'rows' if layout == 'rows' else 'groups')
  mesh = sharding.make_mesh(data=2, fsdp=2) if 'mesh' in layout else None
  if mesh is not None:
    model = models.decoder(CONFIG, sharding.hold_rows(mesh), sharding.by_rows(mesh))
    params = jax.device_put(params, sharding.params(model.specs, mesh))
    batch = jax.device_put(batch, sharding.rows(mesh))
  if 'packed' in layout:
    batch = training.pack_completions(batch, 3, mesh)
    slots = np.asarray(batch.extras['packing']).reshape(-1, batch.extras['packing'].shape[-1])
    length = batch.mask.shape[-1]
    assert any(len({n // length for n in slot if n >= 0}) > 1 for slot in slots)
  found = jax.jit(training.make_score(model, features=FEATURES))(params, batch).extras
  assert np.ptp(slow()['spread']) > 0.3 and (P['completion'] < 0).any()
  for name, expected in slow().items():
    assert found[name].shape == (*batch.rewards.shape, *expected.shape[1:])
    np.testing.assert_allclose(found[name].reshape(expected.shape), expected, rtol=2e-5, atol=2e-5)


def test_features_carry_no_gradient_and_spoil_none():
  """Only one of them is read, and the gradient of another would be NaN."""
  score = training.make_score(MODEL, features=FEATURES)

  def loss(params, extra):
    scores = score(params, toys.as_batch(P, 'groups'))
    return jnp.sum(scores.logp) + extra * jnp.sum(scores.extras['size'])

  with_it, without = (jax.jit(jax.grad(loss))(PARAMS, extra) for extra in (1.0, 0.0))
  jax.tree.map(np.testing.assert_array_equal, with_it, without)
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(without))
  assert max(np.abs(x).max() for x in jax.tree.leaves(without)) > 0.1


@pytest.mark.nightly
@pytest.mark.slow
def test_what_no_term_reads_costs_nothing():
  tx = optax.sgd(0.1)
  largest = {'largest': lambda logits, targets: jnp.sort(logits)[:, -1]}
  batch = methods.grpo().prepare((), toys.as_batch(P, 'groups'))[1]

  def flops(**further):
    score = training.make_score(MODEL, **further)
    step = jax.jit(training.make_train_step(score, methods.grpo(), tx, 2))
    state = training.init_state(PARAMS, tx, methods.grpo())
    return step.lower(state, batch).compile().cost_analysis()['flops']

  plain = flops()
  assert plain > 0
  assert flops(statistics=largest, features=FEATURES) == plain


def test_features_need_a_model_that_gives_activations():
  with pytest.raises(ValueError, match=r"\['ends', 'size', 'spread'\] need model.features"):
    training.make_score(toys.TABLE, features=FEATURES)


@pytest.mark.parametrize(
  'further',
  [
    {'statistics': {'logp': size}},
    {'features': {'entropy': size}},
    {'statistics': {'size': size}, 'features': {'size': size}},
  ],
  ids=['logp', 'entropy', 'both'],
)
def test_a_name_that_is_taken_is_refused(further):
  with pytest.raises(ValueError, match='would stand for two things'):
    training.make_score(MODEL, **further)
