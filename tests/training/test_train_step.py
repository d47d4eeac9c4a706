"""The train step: its gradient and metrics are those of the whole batch, however it is cut."""

import functools

import jax
import jax.numpy as jnp
import loops
import numpy as np
import optax
import pytest
import toys

from rljax import aggregation, divergences, methods, models, training
from rljax.training.train_step import cut
from rljax.types import Batch, Method, Scores, Term

T = 5
METHODS = {
  'reinforce': methods.reinforce(),
  'rloo': methods.rloo(),
  'grpo, kl and entropy': methods.plus(
    methods.grpo(),
    kl=methods.kl_to_reference(aggregation.sequence_mean, 0.3),
    entropy=methods.entropy_bonus(aggregation.token_mean, 0.1),
  ),
  'dr_grpo': methods.dr_grpo(max_length=T),
  'dapo': methods.dapo(max_length=T, overlong_buffer=3),
  'reinforce_pp': methods.reinforce_pp(kl_coef=0.1, gamma=0.9),
  'gspo': methods.gspo(clip_low=0.1, clip_high=0.1),
}
every_method = pytest.mark.parametrize('name', METHODS)
PARAMS = toys.table(0)
SCORE = training.make_score(toys.TABLE)
PROBLEM = toys.problem(3, [4] * 8)
BATCH = toys.as_batch(PROBLEM, 'groups')

# Leaves the parameters alone and keeps the gradient as its state, without rounding.
RECORD = optax.GradientTransformation(
  init=lambda params: jax.tree.map(jnp.zeros_like, params),
  update=lambda grads, state, params=None: (jax.tree.map(jnp.zeros_like, grads), grads),
)


@functools.cache
def one_step(name, parts):
  method = METHODS[name]

  # The sums are the same and the many programs of this file compile in half the time.
  @functools.partial(jax.jit, compiler_options={'xla_backend_optimization_level': 0})
  def fn(params, batch):
    _, batch = method.prepare(method.init(), batch)
    state = training.init_state(params, RECORD, method)
    state, metrics = training.make_train_step(SCORE, method, RECORD, parts)(state, batch)
    return state.opt_state, metrics

  return fn


@functools.partial(jax.jit, static_argnums=0)
def whole(name, params, batch):
  """Gradient of the loss of the whole batch without the train step."""
  method = METHODS[name]
  _, batch = method.prepare(method.init(), batch)
  weights = training.weigh(method, batch)
  return jax.grad(lambda p: training.total(method, SCORE(p, batch), batch, weights)[0])(params)


def assert_tree_close(actual, expected, tolerance=1e-5):
  scale = max(np.abs(x).max() for x in jax.tree.leaves(expected))
  assert scale > 1e-3
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale), actual, expected
  )


@every_method
def test_gradient_and_metrics_are_those_of_the_whole_batch_for_any_cut(name):
  expected = whole(name, PARAMS, BATCH)
  _, first = one_step(name, 1)(PARAMS, BATCH)
  for parts in (1, 2, 4, 8):
    grads, metrics = one_step(name, parts)(PARAMS, BATCH)
    assert_tree_close(grads, expected)
    assert metrics.keys() == first.keys()
    for key in first:
      assert float(metrics[key]) == pytest.approx(float(first[key]), rel=1e-5, abs=1e-6), key


@every_method
def test_shuffled_rows_give_the_gradient_of_the_groups(name):
  rows, _ = toys.shuffled(PROBLEM, 1)
  assert (np.diff(rows['group']) < 0).sum() > 5  # groups are interleaved
  grads, metrics = one_step(name, 4)(PARAMS, toys.as_batch(rows, 'rows'))
  expected, expected_metrics = one_step(name, 4)(PARAMS, BATCH)
  assert_tree_close(grads, expected)
  for key, value in expected_metrics.items():
    assert float(metrics[key]) == pytest.approx(float(value), rel=1e-5, abs=1e-6), key


def chained(problem, gradient):
  """Gradient in the table from the gradient `[B, T]` in log-probabilities, by loops."""
  result = np.zeros((toys.VOCAB, toys.VOCAB))
  law = np.exp(toys.log_softmax(PARAMS['table']))
  before = toys.previous(problem['prompt'], problem['completion'])
  for i, t in np.argwhere(gradient != 0):
    at = before[i, t]
    result[at] -= gradient[i, t] * law[at]
    result[at, problem['completion'][i, t]] += gradient[i, t]
  return result


@pytest.mark.parametrize(
  ('name', 'slow', 'cuts'),
  [
    ('rloo', loops.rloo, (3,)),
    ('dr_grpo', functools.partial(loops.dr_grpo, max_length=T), (9,)),
    ('dapo', functools.partial(loops.dapo, max_length=T, overlong_buffer=3), (1, 3, 9)),
    ('reinforce_pp', functools.partial(loops.reinforce_pp, kl_coef=0.1, gamma=0.9), (3,)),
    ('gspo', functools.partial(loops.gspo, low=0.1, high=0.1), (3,)),
  ],
)
def test_ragged_groups_in_rows_equal_loops(name, slow, cuts):
  p, _ = toys.shuffled(toys.problem(5, [4, 3, 2]), 0)
  p['logp'] = toys.slow_logp(PARAMS, p['prompt'], p['completion'])
  loss, gradient, _, _ = slow(p)
  for parts in cuts:
    grads, metrics = one_step(name, parts)(PARAMS, toys.as_batch(p, 'rows'))
    assert_tree_close(grads, {'table': chained(p, gradient)})
    assert float(metrics['loss']) == pytest.approx(loss, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize('parts', [1, 4])
def test_metrics_equal_the_values_of_the_whole_batch(parts):
  p = {**PROBLEM, 'logp': toys.slow_logp(PARAMS, PROBLEM['prompt'], PROBLEM['completion'])}
  grads, metrics = one_step('grpo, kl and entropy', parts)(PARAMS, BATCH)
  tokens = loops.weights(p, 'token_mean')
  entropy = toys.slow_entropy(PARAMS, p['prompt'], p['completion'])

  def k3(d):
    return np.exp(-d) - 1 + d

  policy, _, cut_off, _ = loops.grpo(p)
  kl = np.sum(loops.weights(p, 'sequence_mean') * k3(p['logp'] - p['ref']))
  mean_entropy = np.sum(tokens * entropy)
  expected = {
    'loss': policy + 0.3 * kl - 0.1 * mean_entropy,
    'loss/policy': policy,
    'loss/clip_fraction': cut_off,
    'loss/kl': kl,
    'loss/entropy': -mean_entropy,
    'entropy': mean_entropy,
    'kl_old': np.sum(tokens * k3(p['old'] - p['logp'])),
    'kl_ref': np.sum(tokens * k3(p['logp'] - p['ref'])),
    'grad_norm': np.sqrt(np.sum(np.float64(grads['table']) ** 2)),
    'nonfinite_grads': 0.0,
    'skipped': 0.0,
    'mismatch': 0.0,
  }
  assert metrics.keys() == expected.keys()
  for key, value in expected.items():
    assert float(metrics[key]) == pytest.approx(value, rel=2e-5, abs=1e-6), key
    assert metrics[key].dtype == jnp.float32 and metrics[key].shape == ()
  assert expected['loss/clip_fraction'] > 0 and expected['kl_old'] > 1e-3


def test_metrics_count_kept_sequences_only():
  keep = METHODS['dapo'].prepare((), BATCH)[1].keep
  p = {**PROBLEM, 'keep': np.asarray(keep).ravel()}
  entropy = toys.slow_entropy(PARAMS, p['prompt'], p['completion'])
  kept, everything = (np.sum(loops.weights(q, 'token_mean') * entropy) for q in (p, PROBLEM))
  assert abs(kept - everything) > 1e-3
  for parts in (1, 4):
    _, metrics = one_step('dapo', parts)(PARAMS, BATCH)
    assert float(metrics['entropy']) == pytest.approx(kept, rel=1e-5)


def test_metrics_do_not_read_what_is_not_trained():
  hole = BATCH.mask == 0
  spoilt = BATCH.replace(
    old_logp=jnp.where(hole, jnp.nan, BATCH.old_logp),
    ref_logp=jnp.where(hole, jnp.inf, BATCH.ref_logp),
    behavior_logp=jnp.where(hole, jnp.nan, BATCH.behavior_logp),
  )
  name = 'grpo, kl and entropy'
  jax.tree.map(
    np.testing.assert_array_equal,
    one_step(name, 2)(PARAMS, spoilt),
    one_step(name, 2)(PARAMS, BATCH),
  )


def test_log_probabilities_shifted_by_one_are_noticed():
  exact = jnp.float32(toys.slow_logp(PARAMS, PROBLEM['prompt'], PROBLEM['completion']))
  exact = exact.reshape(BATCH.mask.shape)
  right = BATCH.replace(behavior_logp=exact, old_logp=exact, ref_logp=exact)
  _, metrics = one_step('gspo', 2)(PARAMS, right)
  assert float(metrics['mismatch']) < 1e-5
  assert abs(float(metrics['kl_ref'])) < 1e-6 and abs(float(metrics['kl_old'])) < 1e-6
  shifted = jnp.roll(exact, 1, axis=-1)
  for field, metric in (
    ('behavior_logp', 'mismatch'),
    ('ref_logp', 'kl_ref'),
    ('old_logp', 'kl_old'),
  ):
    _, metrics = one_step('gspo', 2)(PARAMS, right.replace(**{field: shifted}))
    assert float(metrics[metric]) > 0.1, field


def test_mismatch_is_measured_against_the_scorer_where_there_is_no_old_policy():
  batch = BATCH.replace(old_logp=None)
  name = 'grpo, kl and entropy'
  p = PROBLEM
  exact = toys.slow_logp(PARAMS, p['prompt'], p['completion'])
  gap = np.abs(np.where(p['mask'] > 0, exact - p['old'], 0)).max()
  for parts in (1, 4):
    _, metrics = one_step(name, parts)(PARAMS, batch)
    assert float(metrics['mismatch']) == pytest.approx(gap, rel=1e-4)
    assert 'kl_old' not in metrics


def test_a_gradient_that_is_not_finite_is_counted_and_not_applied():
  tx = optax.adam(1e-2)
  step = jax.jit(training.make_train_step(training.make_score(toys.TABLE), METHODS['gspo'], tx))
  batch = METHODS['gspo'].prepare((), BATCH)[1]
  good, metrics = step(training.init_state(PARAMS, tx), batch)
  assert float(metrics['skipped']) == 0
  advantages = np.array(batch.advantages)
  advantages[0, 0] = np.inf
  same, metrics = step(good, batch.replace(advantages=advantages))
  assert float(metrics['nonfinite_grads']) > 0 and float(metrics['skipped']) == 1
  assert same.step == good.step + 1
  jax.tree.map(
    np.testing.assert_array_equal, (same.params, same.opt_state), (good.params, good.opt_state)
  )
  moved, _ = step(same, batch)
  assert not np.array_equal(moved.params['table'], same.params['table'])


HINGE_BOUND, HINGE_COEF = 0.02, 7.0


def squared_hinge():
  """GRPO with `coef * max(KL - bound, 0)**2`, which is not a sum over rows."""

  def kl(scores, batch):
    return divergences.k3(scores.logp, batch.ref_logp)

  def measure(state, scores, batch):
    mean = jnp.sum(aggregation.token_mean(batch) * kl(scores, batch))
    slope = 2 * HINGE_COEF * jnp.maximum(mean - HINGE_BOUND, 0.0)
    state = {'steps': state['steps'] + 1, 'kl': mean}
    return state, batch.replace(constants={**batch.constants, 'slope': slope})

  term = Term(kl, aggregation.token_mean, lambda batch: batch.constants['slope'])
  method = methods.plus(methods.grpo(), hinge=term)
  return method._replace(
    init=lambda: {'steps': jnp.int32(0), 'kl': jnp.float32(0)}, measure=measure
  )


def test_a_measured_term_has_the_gradient_of_the_nonlinear_objective_for_any_cut():
  method = squared_hinge()
  _, batch = method.prepare(method.init(), BATCH)
  policy = methods.grpo()
  weights = training.weigh(policy, batch)

  def objective(params):
    scores = SCORE(params, batch)
    loss, _ = training.total(policy, scores, batch, weights)
    kl = divergences.k3(scores.logp, batch.ref_logp)
    mean = jnp.sum(aggregation.token_mean(batch) * kl)
    return loss + HINGE_COEF * jnp.maximum(mean - HINGE_BOUND, 0.0) ** 2, mean

  expected, mean = jax.jit(jax.grad(objective, has_aux=True))(PARAMS)
  assert float(mean) > 1.5 * HINGE_BOUND
  for parts in (1, 2, 4):
    step = jax.jit(training.make_train_step(SCORE, method, RECORD, parts))
    state, _ = step(training.init_state(PARAMS, RECORD, method), batch)
    assert_tree_close(state.opt_state, expected)
    assert int(state.method_state['steps']) == 1
    assert float(state.method_state['kl']) == pytest.approx(float(mean), rel=1e-5)
  state, _ = step(state, batch)
  assert int(state.method_state['steps']) == 2 and int(state.step) == 2
  plain = whole('grpo, kl and entropy', PARAMS, BATCH)
  assert np.abs(plain['table'] - expected['table']).max() > 1e-3


def test_methods_on_two_batches_train_together():
  method = methods.together(rollouts=squared_hinge(), demonstrations=methods.dr_grpo(max_length=T))
  small = toys.as_batch(toys.problem(9, [2] * 4), 'groups').replace(old_logp=None)
  batches = {'rollouts': BATCH, 'demonstrations': small}

  def score(params, batches):
    return {name: SCORE(params, batch) for name, batch in batches.items()}

  _, batches = method.prepare(method.init(), batches)
  found = {}
  for parts in (1, 4):
    step = jax.jit(training.make_train_step(score, method, RECORD, parts))
    found[parts] = step(training.init_state(PARAMS, RECORD, method), batches)
  (one, metrics), (four, cut_metrics) = found[1], found[4]
  assert_tree_close(four.opt_state, one.opt_state)
  assert int(four.method_state['rollouts']['steps']) == 1
  for key, value in metrics.items():
    assert float(cut_metrics[key]) == pytest.approx(float(value), rel=1e-5, abs=1e-6), key
  # The gradient is the sum of those of the two methods on their own.
  alone = []
  for inner, batch in ((squared_hinge(), BATCH), (methods.dr_grpo(max_length=T), small)):
    step = jax.jit(training.make_train_step(SCORE, inner, RECORD, 1))
    _, batch = inner.prepare(inner.init(), batch)
    alone.append(step(training.init_state(PARAMS, RECORD, inner), batch))
  assert_tree_close(one.opt_state, jax.tree.map(jnp.add, *(a[0].opt_state for a in alone)))
  for name, (_, own) in zip(('rollouts', 'demonstrations'), alone, strict=True):
    assert float(metrics[f'entropy/{name}']) == pytest.approx(float(own['entropy']), rel=1e-5)
    assert float(metrics[f'kl_ref/{name}']) == pytest.approx(float(own['kl_ref']), rel=1e-5)
    assert float(metrics[f'loss/{name}_policy']) == pytest.approx(
      float(own['loss/policy']), rel=1e-4, abs=1e-6
    )
  assert 'kl_old/rollouts' in metrics and 'kl_old/demonstrations' not in metrics


def test_one_trace_serves_all_batches_of_a_shape():
  traces = []

  def score(params, batch):
    traces.append(1)
    return SCORE(params, batch)

  method = methods.grpo()
  step = jax.jit(training.make_train_step(score, method, optax.sgd(0.1), 2))
  state = training.init_state(PARAMS, optax.sgd(0.1), method)
  _, batch = method.prepare((), BATCH)
  state, _ = step(state, batch)
  count = len(traces)
  other = toys.as_batch(toys.problem(4, [4] * 8), 'groups')
  state, _ = step(state, method.prepare((), other)[1])
  assert len(traces) == count > 0
  assert int(state.step) == 2


def test_sgd_moves_the_parameters_against_the_gradient():
  method = METHODS['rloo']
  tx = optax.sgd(0.5)
  _, batch = method.prepare((), BATCH)
  step = jax.jit(training.make_train_step(SCORE, method, tx, 2))
  state, _ = step(training.init_state(PARAMS, tx, method), batch)
  expected = PARAMS['table'] - 0.5 * np.asarray(whole('rloo', PARAMS, BATCH)['table'])
  np.testing.assert_allclose(state.params['table'], expected, atol=1e-6)


def test_donating_the_state_leaves_the_batch_and_the_reference_usable():
  method, tx = methods.grpo(), optax.adam(0.1)
  params = jax.tree.map(jnp.asarray, PARAMS)
  reference = jax.tree.map(jnp.copy, params)
  _, batch = method.prepare((), BATCH.replace(ref_logp=SCORE(reference, BATCH).logp))
  step = jax.jit(training.make_train_step(SCORE, method, tx, 2), donate_argnums=0)
  state = training.init_state(params, tx, method)
  divergence = []
  for _ in range(3):
    before = state
    state, metrics = step(state, batch)
    assert before.params['table'].is_deleted()
    divergence.append(float(metrics['kl_ref']))
  assert divergence[0] == pytest.approx(0, abs=1e-6) and divergence[2] > divergence[1] > 1e-4
  again = SCORE(reference, batch).logp
  np.testing.assert_allclose(again, batch.ref_logp, atol=1e-6)


EOS = 2
TINY = models.DecoderConfig(
  vocab_size=toys.VOCAB,
  dim=8,
  num_layers=1,
  num_heads=2,
  num_kv_heads=1,
  head_dim=4,
  ff_dim=8,
)


def test_the_end_token_is_reinforced_even_where_it_is_the_whole_completion():
  model = models.decoder(TINY)
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda spec: np.float32(0.5 * rng.normal(size=spec.shape)),
    model.specs,
    is_leaf=lambda x: isinstance(x, models.Spec),
  )
  completion = jnp.int32([[[EOS, -1, -1], [5, 6, EOS]], [[4, 7, 8], [9, EOS, -1]]])
  batch = Batch(
    prompt=jnp.int32([[[-1, 3]], [[4, 1]]]),
    completion=completion,
    mask=(completion >= 0).astype(jnp.float32),
    rewards=jnp.array([[1.0, 0.0], [0.0, 1.0]]),
  )
  score = training.make_score(model)
  method, tx = methods.reinforce(), optax.sgd(0.2)
  _, batch = method.prepare((), batch)
  step = jax.jit(training.make_train_step(score, method, tx))
  scores = jax.jit(score)
  before = scores(params, batch).logp
  state, metrics = step(training.init_state(params, tx, method), batch)
  after = scores(state.params, batch).logp
  assert float(metrics['grad_norm']) > 0
  assert float(after[0, 0, 0] - before[0, 0, 0]) > 0.01
  assert float(after[1, 1, 1] - before[1, 1, 1]) > 0.01


def test_log_probability_of_the_end_token_carries_gradient():
  method = methods.reinforce()
  completion = jnp.int32([[[EOS, -1], [5, EOS]]])
  batch = Batch(
    completion=completion,
    mask=(completion >= 0).astype(jnp.float32),
    rewards=jnp.ones((1, 2)),
  )
  _, batch = method.prepare((), batch)
  weights = training.weigh(method, batch)
  gradient = jax.grad(lambda logp: training.total(method, Scores(logp), batch, weights)[0])
  np.testing.assert_allclose(gradient(jnp.zeros((1, 2, 2))), [[[-0.5, 0], [-0.5, -0.5]]])


def test_a_batch_that_does_not_divide_is_refused():
  step = training.make_train_step(SCORE, METHODS['rloo'], RECORD, 3)
  _, batch = METHODS['rloo'].prepare((), BATCH)
  with pytest.raises(ValueError, match='batch of 8 does not divide into 3 microbatches'):
    step(training.init_state(PARAMS, RECORD), batch)


def test_cut_is_strided_and_repeats_constants():
  batch = Batch(rewards=jnp.arange(6.0), constants={'a': jnp.array([1.0, 2.0])})
  parts = cut(batch, 3)
  np.testing.assert_array_equal(parts.rewards, [[0, 3], [1, 4], [2, 5]])
  np.testing.assert_array_equal(parts.constants['a'], [[1, 2]] * 3)
  both = cut({'x': batch, 'y': jnp.arange(3)}, 3)
  np.testing.assert_array_equal(both['x'].constants['a'], [[1, 2]] * 3)
  np.testing.assert_array_equal(both['y'], [[0], [1], [2]])


def test_init_state_starts_at_step_zero_with_the_methods_state():
  method: Method = squared_hinge()
  state = training.init_state(PARAMS, optax.adam(0.1), method)
  assert int(state.step) == 0 and state.step.dtype == jnp.int32
  assert int(state.method_state['steps']) == 0
  assert training.init_state(PARAMS, optax.adam(0.1)).method_state == ()
