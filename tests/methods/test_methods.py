"""Loss and gradient of every method and term against loops in float64, in both layouts."""

import functools

import jax
import jax.numpy as jnp
import loops
import numpy as np
import pytest
from parity import exact

from rljax import aggregation, divergences, methods, training
from rljax.types import Batch, Method, Scores

T = 6
METHODS = {
  'reinforce': (methods.reinforce(), loops.reinforce),
  'rloo': (methods.rloo(), loops.rloo),
  'grpo': (methods.grpo(), loops.grpo),
  'grpo, clip-higher': (
    methods.grpo(clip_low=0.1, clip_high=0.5),
    functools.partial(loops.grpo, low=0.1, high=0.5),
  ),
  'dr_grpo': (methods.dr_grpo(max_length=9), functools.partial(loops.dr_grpo, max_length=9)),
  'dapo': (
    methods.dapo(max_length=T, overlong_buffer=3),
    functools.partial(loops.dapo, max_length=T, overlong_buffer=3),
  ),
  'reinforce_pp': (methods.reinforce_pp(), loops.reinforce_pp),
  'reinforce_pp, kl, gamma': (
    methods.reinforce_pp(kl_coef=0.3, gamma=0.8),
    functools.partial(loops.reinforce_pp, kl_coef=0.3, gamma=0.8),
  ),
  'gspo': (methods.gspo(), loops.gspo),
  'gspo, wide clip': (
    methods.gspo(clip_low=0.5, clip_high=0.5),
    functools.partial(loops.gspo, low=0.5, high=0.5),
  ),
}


def problem(seed, sizes, keep=False, extreme=True):
  """Random rows of groups of the given sizes: holes, an empty row, equal rewards, wild ratios."""
  rng = np.random.default_rng(seed)
  group = np.repeat(np.arange(len(sizes)), sizes)
  rows = len(group)
  mask = (rng.random((rows, T)) < 0.7).astype(np.float64)
  mask[0] = 1.0
  mask[min(2, rows - 1)] = 0.0
  correct = (rng.random(rows) < 0.5).astype(np.float64)
  correct[group == 1] = 1.0  # a group without spread
  correct[group == 0] = np.arange(sizes[0]) % 2
  logp = -rng.exponential(1.0, (rows, T))
  difference = rng.normal(0, 0.3, (rows, T))
  if extreme:
    difference[0] = [-25.0, 24.0, -20.5, 19.0, -3.0, 0.0]
    difference[1] = rng.uniform(-25, 24, T)
  found = {
    'logp': logp,
    'old': logp - difference,
    'ref': logp - rng.permuted(difference, axis=0),
    'mask': mask,
    'correct': correct,
    'rewards': exact(correct + 0.1 * (rng.random(rows) < 0.3) * (group != 1)),
    'group': group,
    'keep': (rng.random(rows) < 0.7).astype(np.float64) if keep else None,
  }
  return {k: exact(v) if k in ('logp', 'old', 'ref') else v for k, v in found.items()}


def as_batch(p, layout, on_policy=False):
  """The problem as a batch in a layout; a row that is not there is left to `group`."""
  sizes = np.bincount(p['group'])
  shape = (len(sizes), sizes[0]) if layout == 'groups' else (len(p['group']),)

  def arrange(x):
    return None if x is None else jnp.asarray(np.float32(x)).reshape(*shape, *x.shape[1:])

  return arrange(p['logp']), Batch(
    mask=arrange(p['mask']),
    rewards=arrange(p['rewards']),
    old_logp=None if on_policy else arrange(p['old']),
    behavior_logp=arrange(p['logp']),
    ref_logp=arrange(p['ref']),
    keep=arrange(p['keep']),
    group=None if layout == 'groups' else jnp.asarray(p['group'], jnp.int32),
    group_shape=None if layout == 'groups' else (len(sizes), int(sizes.max())),
    extras={'correct': arrange(p['correct'])},
  )


# Without optimisation the many programs of these tests compile in half the time.
@functools.partial(
  jax.jit, static_argnums=0, compiler_options={'xla_backend_optimization_level': 0}
)
def loss_of_method(name, logp, batch):
  return loss_and_gradient(METHODS[name][0], logp, batch)


def loss_and_gradient(method, logp, batch):
  """(loss, terms) and the gradient in logp."""
  _, batch = method.prepare(method.init(), batch)
  weights = training.weigh(method, batch)

  def loss(logp):
    return training.total(method, Scores(logp), batch, weights)

  return jax.value_and_grad(loss, has_aux=True)(logp)


def assert_equal(found, expected, terms_size):
  (loss, terms), gradient = found
  expected_loss, expected_gradient, expected_cut, size = expected
  assert abs(float(loss) - expected_loss) <= 1e-5 * max(size, abs(expected_loss))
  largest = np.abs(expected_gradient).max(initial=0)
  gradient = np.asarray(gradient).reshape(expected_gradient.shape)
  np.testing.assert_allclose(gradient, expected_gradient, rtol=2e-5, atol=1e-6 * largest)
  assert (gradient[expected_gradient == 0] == 0).all()
  if 'clip_fraction' in terms:
    assert float(terms['clip_fraction']) == pytest.approx(expected_cut, abs=1e-6)
  assert len(terms) == terms_size


CASES = {
  'groups': ('groups', [4, 4, 4], True, False),
  'groups, on-policy': ('groups', [4, 4, 4], True, True),
  'groups of one': ('groups', [1, 1, 1, 1], False, False),
  'ragged, interleaved rows': ('rows', [4, 3, 2, 1, 2], True, False),
}


@pytest.mark.parametrize('name', METHODS)
def test_loss_and_gradient_equal_loops(name):
  method, slow = METHODS[name]
  with_gradient = set()
  for case, (layout, sizes, keep, on_policy) in CASES.items():
    for seed in range(3):
      p = problem(seed, sizes, keep)
      if layout == 'rows':
        order = np.random.default_rng(seed).permutation(len(p['group']))
        p = {k: None if v is None else v[order] for k, v in p.items()}
      logp, batch = as_batch(p, layout, on_policy)
      expected = slow({**p, 'old': None} if on_policy else p)
      assert_equal(loss_of_method(name, logp, batch), expected, len(method.terms))
      if np.abs(expected[1]).max() > 1e-3:
        with_gradient.add(case)
  # The comparison has power: only groups of one may be without a gradient throughout.
  assert with_gradient >= {*CASES} - {'groups of one'}


@pytest.mark.parametrize('name', METHODS)
def test_no_old_log_probabilities_mean_the_policy_itself(name):
  logp, batch = as_batch(problem(0, [4, 4, 4], keep=True), 'groups')
  absent = loss_of_method(name, logp, batch.replace(old_logp=None))
  equal = loss_of_method(name, logp, batch.replace(old_logp=logp))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7), absent, equal)
  assert np.abs(equal[1]).max() > 0


@pytest.mark.parametrize('name', METHODS)
def test_jit_changes_nothing(name):
  logp, batch = as_batch(problem(1, [4, 4, 4], keep=True), 'groups')
  jitted = loss_of_method(name, logp, batch)
  plain = loss_and_gradient(METHODS[name][0], logp, batch)
  for a, b in zip(jax.tree.leaves(jitted), jax.tree.leaves(plain), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6 * np.abs(b).max())


ESTIMATORS = ['k1', 'k2', 'k3', 'k1_plus', 'k3_plus']


@pytest.mark.parametrize('name', ESTIMATORS)
@pytest.mark.parametrize('kind', ['token_mean', 'sequence_mean'])
def test_a_kl_term_adds_its_estimate_and_gradient(name, kind):
  term = methods.kl_to_reference(getattr(aggregation, kind), 0.25, getattr(divergences, name))
  method = methods.stateless(lambda batch: batch, kl=term)
  p = problem(1, [4, 4, 4], keep=True)
  logp, batch = as_batch(p, 'groups')
  (loss, terms), gradient = jax.jit(functools.partial(loss_and_gradient, method))(logp, batch)
  value, slope, size = loops.kl_term(p, name, kind)
  assert size > 0.1
  assert abs(float(terms['kl']) - value) <= 1e-5 * size
  assert float(loss) == pytest.approx(0.25 * float(terms['kl']), rel=1e-6)
  gradient = np.asarray(gradient).reshape(slope.shape)
  largest = np.abs(slope).max()
  np.testing.assert_allclose(gradient, 0.25 * slope, rtol=2e-5, atol=1e-6 * largest)


def test_k3_is_the_default_estimator():
  term = methods.kl_to_reference(aggregation.token_mean, 0.5)
  logp, batch = as_batch(problem(1, [4, 4]), 'groups')
  np.testing.assert_array_equal(
    jnp.where(batch.mask > 0, term.value(Scores(logp), batch), 0.0),
    jnp.where(batch.mask > 0, divergences.k3(logp, batch.ref_logp), 0.0),
  )
  assert term.coef == 0.5


def test_an_entropy_bonus_lowers_the_loss_by_the_mean_entropy():
  p = problem(1, [4, 4, 4], keep=True)
  logp, batch = as_batch(p, 'groups')
  entropy = exact(np.random.default_rng(0).uniform(0, 2, p['mask'].shape))
  method = methods.stateless(
    lambda b: b, bonus=methods.entropy_bonus(aggregation.sequence_mean, 0.1)
  )

  def loss(entropy):
    weights = training.weigh(method, batch)
    return training.total(method, Scores(logp, entropy), batch, weights)[0]

  value, gradient = jax.value_and_grad(loss)(jnp.float32(entropy).reshape(logp.shape))
  w = loops.weights(p, 'sequence_mean')
  assert float(value) == pytest.approx(-0.1 * np.sum(w * entropy), rel=1e-5)
  np.testing.assert_allclose(gradient.reshape(w.shape), -0.1 * w, rtol=1e-5)


def test_a_term_added_to_a_method_adds_up():
  p = problem(4, [4, 4, 4])
  logp, batch = as_batch(p, 'groups')
  kl = methods.kl_to_reference(aggregation.sequence_mean, 0.2, divergences.k2)
  method = methods.plus(methods.grpo(), kl=kl)
  (loss, _), gradient = jax.jit(functools.partial(loss_and_gradient, method))(logp, batch)
  policy, penalty = loops.grpo(p), loops.kl_term(p, 'k2', 'sequence_mean')
  size = policy[3] + 0.2 * penalty[2]
  assert abs(float(loss) - policy[0] - 0.2 * penalty[0]) <= 1e-5 * size
  expected = policy[1] + 0.2 * penalty[1]
  np.testing.assert_allclose(
    gradient.reshape(expected.shape), expected, rtol=2e-5, atol=1e-6 * np.abs(expected).max()
  )


def test_dapo_selects_by_correctness_and_not_by_the_shaped_reward():
  mask = jnp.ones((3, 2, T)).at[:, 1, 3:].set(0.0)  # lengths 6 and 3: the length term differs
  batch = Batch(
    mask=mask,
    rewards=jnp.array([[1.0, 1.0], [1.0, 0.0], [1.2, 1.1]]),
    extras={'correct': jnp.array([[1.0, 1.0], [1.0, 0.0], [1.0, 1.0]])},
  )
  method = methods.dapo(max_length=T, overlong_buffer=3)
  _, prepared = method.prepare((), batch)
  np.testing.assert_array_equal(prepared.keep, [[0, 0], [1, 1], [0, 0]])
  np.testing.assert_allclose(prepared.rewards[0], [0.0, 1.0])
  assert (np.abs(prepared.advantages[0]) > 0.5).all()  # the shaped rewards do look mixed
  # Without the column the rewards before the length term decide: group 2 is then mixed.
  _, without = method.prepare((), batch.replace(extras={}))
  np.testing.assert_array_equal(without.keep, [[0, 0], [1, 1], [1, 1]])


def test_dapo_keeps_only_what_was_kept_before():
  p = problem(0, [4, 4, 4])
  _, batch = as_batch(p, 'groups')
  method = methods.dapo(max_length=T, overlong_buffer=3)
  kept = method.prepare((), batch)[1].keep
  before = jnp.ones((3, 4)).at[0, 1].set(0.0)
  after = method.prepare((), batch.replace(keep=before))[1].keep
  np.testing.assert_array_equal(after, kept * before)
  assert after[0].sum() == 3


def test_gspo_equals_grpo_for_completions_of_one_token():
  p = problem(5, [4, 4, 4], extreme=False)
  p = {k: v[:, :1] if v is not None and v.ndim == 2 else v for k, v in p.items()}
  p['mask'] = np.ones_like(p['mask'])
  logp, batch = as_batch(p, 'groups')
  a = loss_and_gradient(methods.gspo(clip_low=0.2, clip_high=0.2), logp, batch)
  b = loss_and_gradient(methods.grpo(), logp, batch)
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), a, b)


def test_missing_reference_is_said_in_words():
  logp, batch = as_batch(problem(0, [4, 4]), 'groups')
  method = methods.plus(methods.grpo(), kl=methods.kl_to_reference(aggregation.token_mean, 0.1))
  with pytest.raises(ValueError, match='ref_logp, which is None'):
    loss_and_gradient(method, logp, batch.replace(ref_logp=None))
  with pytest.raises(ValueError, match='ref_logp, which is None'):
    methods.reinforce_pp(kl_coef=0.1).prepare((), batch.replace(ref_logp=None))
  with pytest.raises(ValueError, match='behavior_logp'):
    methods.reinforce_pp(kl_coef=0.1).prepare((), batch.replace(old_logp=None, behavior_logp=None))


def test_a_value_and_weights_of_different_shape_are_refused():
  logp, batch = as_batch(problem(0, [4, 4]), 'groups')
  method: Method = methods.grpo()
  policy = method.terms['policy']._replace(weights=aggregation.per_sequence)
  with pytest.raises(ValueError, match=r"'policy' has values of shape \(2, 4, 6\)"):
    loss_and_gradient(method._replace(terms={'policy': policy}), logp, batch)
