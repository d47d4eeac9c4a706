"""Packed completions are computed as if each had a row of its own."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toys
from hypothesis import given, settings
from hypothesis import strategies as st

from rljax import aggregation, methods, models, training
from rljax.training import packing, sharding
from rljax.types import Term

T = 13
CONFIG = models.DecoderConfig(
  vocab_size=12, dim=8, num_layers=1, num_heads=2, num_kv_heads=2, head_dim=4, ff_dim=12
)
MODEL = models.decoder(CONFIG)
SCORE = training.make_score(MODEL)
TX = optax.adam(1e-3)  # its first moment is a tenth of the gradient
QUICK = {'xla_backend_optimization_level': 0}


def params():
  return models.init(jax.random.key(1), MODEL.specs)


def batch(seed=2, prompts=4, group=6, length=T):
  found = toys.as_batch(toys.problem(seed, prompts * [group], length=length), 'groups')
  noise = np.float32(np.random.default_rng(seed).normal(size=(2, *found.completion.shape)))
  # Near the policy's own: an exponential of a large difference would be all rounding.
  own = jax.jit(SCORE, compiler_options=QUICK)(params(), found).logp
  old, ref = (own + 0.3 * jnp.asarray(x) * (own != 0) for x in noise)
  return found.replace(old_logp=old, behavior_logp=old, ref_logp=ref)


@given(st.integers(1, 20), st.integers(1, 9), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_every_token_has_one_place_and_completions_stay_in_one_piece(multiple, group, seed):
  lengths = np.random.default_rng(seed).integers(1, T + 1, (3, group))
  found = packing.slots(lengths, T, multiple)
  prompts, slots, width = found.shape
  assert prompts == 3 and slots <= group
  assert lengths.max() <= width <= 2 * T
  assert slots * width <= group * min(T, -(-lengths.max() // multiple) * multiple)
  for own, row in zip(lengths, found, strict=True):
    expected = [g * T + t for g in range(group) for t in range(own[g])]
    assert sorted(row[row >= 0].tolist()) == expected
    for slot in row:
      for g in set(slot[slot >= 0] // T):
        (places,) = np.nonzero((slot >= 0) & (slot // T == g))
        np.testing.assert_array_equal(slot[places], g * T + np.arange(own[g]))
        assert places[-1] - places[0] == own[g] - 1


def test_slots_are_filled_from_the_longest_to_the_shortest():
  found = packing.slots(np.array([[2, 5, 3, 6], [1, 1, 1, 1]]), 9, 8)
  assert found.shape == (2, 2, 8)
  assert found[0, 0].tolist() == [27, 28, 29, 30, 31, 32, 0, 1]
  assert found[0, 1].tolist() == [9, 10, 11, 12, 13, 18, 19, 20]
  assert found[1, 0].tolist() == [0, 9, 18, 27, -1, -1, -1, -1] and (found[1, 1] == -1).all()


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize(
  'changes', [{}, {'num_layers': 2, 'windows': (3, 0)}, {'num_layers': 6, 'qk_norm': True}], ids=str
)
def test_scores_are_those_of_a_row_each(changes):
  model = models.decoder(dataclasses.replace(CONFIG, **changes))
  weights = models.init(jax.random.key(2), model.specs)
  score = jax.jit(training.make_score(model), compiler_options=QUICK)
  given = batch()
  packed = training.pack_completions(given, 4)
  assert packed.extras['packing'].size < given.completion.size
  found, expected = score(weights, packed), score(weights, given)
  np.testing.assert_allclose(found.logp, expected.logp, atol=2e-6)
  np.testing.assert_allclose(found.entropy, expected.entropy, atol=2e-6)
  assert np.abs(expected.logp).max() > 1


def test_wider_slots_are_taken_where_they_hold_more():
  assert packing.slots(np.array([[6, 6, 6, 6]]), 10, 2).shape == (1, 4, 6)  # the narrowest
  assert packing.slots(np.array([[6, 4, 4, 4]]), 10, 2).shape == (1, 2, 10)
  assert packing.slots(np.array([[10, 1]]), 10, 4).shape == (1, 1, 14)


def measured(method):
  """With a term whose coefficient is the square of the whole batch's mean score."""

  def measure(state, scores, rows):
    mean = jnp.sum(scores.logp * aggregation.token_mean(rows))
    return state, rows.replace(constants=rows.constants | {'coef': mean**2})

  term = Term(
    lambda scores, rows: scores.logp, aggregation.token_mean, lambda rows: rows.constants['coef']
  )
  return methods.plus(method, squared=term)._replace(measure=measure)


def by_prompt(scores, rows):
  return jax.nn.logsumexp((scores.logp * rows.mask).sum(-1), axis=-1)


METHODS = {
  'grpo with a penalty': methods.plus(
    methods.grpo(), kl=methods.kl_to_reference(aggregation.sequence_mean, 0.3)
  ),
  'reinforce_pp': methods.reinforce_pp(kl_coef=0.1),
  'gspo': methods.gspo(),
  'a value a prompt': methods.plus(
    methods.rloo(), group=Term(by_prompt, aggregation.per_prompt, 0.1)
  ),
  'measured': measured(methods.dr_grpo(max_length=T)),
}


def stepped(method, given, microbatches=1):
  state = training.init_state(params(), TX, method)
  step = training.make_train_step(SCORE, method, TX, microbatches)
  state, metrics = jax.jit(step, compiler_options=QUICK)(state, given)
  return state.opt_state[0].mu, metrics


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize('name', METHODS)
def test_gradient_and_metrics_are_those_of_the_padded_batch(name):
  method = METHODS[name]
  prepared = method.prepare(method.init(), batch())[1]
  expected, metrics = stepped(method, prepared)
  packed = training.pack_completions(prepared, 5)
  assert packed.extras['packing'].size < prepared.completion.size
  found, seen = stepped(method, packed, microbatches=2)
  norm = float(optax.global_norm(expected))
  off = float(optax.global_norm(jax.tree.map(jnp.subtract, found, expected)))
  assert norm > 1e-3 and off < 1e-6 * norm
  assert seen.keys() == metrics.keys()
  for key, value in metrics.items():
    assert float(seen[key]) == pytest.approx(float(value), rel=1e-5, abs=1e-6), key


@pytest.mark.nightly
@pytest.mark.slow
def test_one_completion_a_prompt_is_cut_to_the_longest():
  given = batch(prompts=6, group=1)
  given = given.replace(completion=given.completion.at[..., 7:].set(-1))
  packed = training.pack_completions(given, 4)
  assert packed.extras['packing'].shape == (6, 1, 8)
  np.testing.assert_allclose(SCORE(params(), packed).logp, SCORE(params(), given).logp, atol=2e-6)


def test_a_mesh_gives_the_gradient_of_one_device():
  method = METHODS['grpo with a penalty']
  mesh = sharding.make_mesh(2, 1, 2)
  prepared = method.prepare((), batch())[1]
  expected, _ = stepped(method, training.pack_completions(prepared, 4))
  packed = training.pack_completions(jax.device_put(prepared, sharding.rows(mesh)), 4, mesh)
  assert packed.extras['packing'].sharding == sharding.rows(mesh)
  placed = sharding.params(MODEL.specs, mesh)
  state = training.init_state(jax.device_put(params(), placed), TX, method)
  score = training.make_score(models.decoder(CONFIG, sharding.hold_rows(mesh)))
  step = training.make_train_step(score, method, TX, 2)
  state, _ = jax.jit(step, compiler_options=QUICK)(state, packed)
  norm = float(optax.global_norm(expected))
  found = jax.device_get(state.opt_state[0].mu)
  off = optax.global_norm(jax.tree.map(jnp.subtract, found, jax.device_get(expected)))
  assert float(off) < 1e-5 * norm


def test_what_cannot_be_packed_is_refused():
  rows = toys.as_batch(toys.problem(0, [2, 2]), 'rows')
  with pytest.raises(ValueError, match=r'completion \(4, 5\) and row groups'):
    training.pack_completions(rows, 4)
  with pytest.raises(ValueError, match='multiple is 0'):
    training.pack_completions(batch(), 0)
  plain = training.make_score(toys.TABLE)
  with pytest.raises(ValueError, match=r'needs model\.features'):
    plain(toys.table(0), training.pack_completions(batch(), 4))
