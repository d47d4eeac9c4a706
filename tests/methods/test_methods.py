"""Loss and gradient of the baselines and of shared terms against loops in float64."""

import functools

import cases_baseline
import jax
import jax.numpy as jnp
import loops
import numpy as np
import pytest
from harness import T, as_batch, assert_parity, loss_and_gradient, loss_of_case, problem
from parity import exact

from rljax import aggregation, divergences, methods, training
from rljax.types import Batch, Method, Scores


@pytest.mark.parametrize('name', cases_baseline.CASES)
def test_loss_and_gradient_equal_loops(name):
  assert_parity(name)


CLIPPED = {
  'grpo': (methods.grpo(), loops.grpo),
  'dapo': (
    methods.dapo(max_length=T, overlong_buffer=3),
    functools.partial(loops.dapo, max_length=T, overlong_buffer=3),
  ),
  'gspo': (
    methods.gspo(clip_low=0.5, clip_high=0.5),
    functools.partial(loops.gspo, low=0.5, high=0.5),
  ),
}


@pytest.mark.parametrize('name', CLIPPED)
def test_the_clip_fraction_equals_loops(name):
  method, slow = CLIPPED[name]
  seen = []
  for seed in range(3):
    p = problem(seed, [4, 4, 4], keep=True)
    logp, batch = as_batch(p, 'groups')
    _, _, cut, _ = slow(p)
    (_, terms), _ = loss_and_gradient(method, Scores(logp), batch)
    assert float(terms['clip_fraction']) == pytest.approx(cut, abs=1e-6)
    seen.append(cut)
  assert max(seen) > 0


@pytest.mark.parametrize('name', cases_baseline.CASES)
def test_no_old_log_probabilities_mean_the_policy_itself(name):
  logp, batch = as_batch(problem(0, [4, 4, 4], keep=True), 'groups')
  absent = loss_of_case(name, Scores(logp), batch.replace(old_logp=None))
  equal = loss_of_case(name, Scores(logp), batch.replace(old_logp=logp))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7), absent, equal)
  assert np.abs(equal[1].logp).max() > 0


ESTIMATORS = ['k1', 'k2', 'k3', 'k1_plus', 'k3_plus']


@pytest.mark.parametrize('name', ESTIMATORS)
@pytest.mark.parametrize('kind', ['token_mean', 'sequence_mean'])
def test_a_kl_term_adds_its_estimate_and_gradient(name, kind):
  term = methods.kl_to_reference(getattr(aggregation, kind), 0.25, getattr(divergences, name))
  method = methods.stateless(lambda batch: batch, kl=term)
  p = problem(1, [4, 4, 4], keep=True)
  logp, batch = as_batch(p, 'groups')
  tried = jax.jit(functools.partial(loss_and_gradient, method))
  (loss, terms), gradient = tried(Scores(logp), batch)
  value, slope, size = loops.kl_term(p, name, kind)
  assert size > 0.1
  assert abs(float(terms['kl']) - value) <= 1e-5 * size
  assert float(loss) == pytest.approx(0.25 * float(terms['kl']), rel=1e-6)
  gradient = np.asarray(gradient.logp).reshape(slope.shape)
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
  (loss, _), gradient = jax.jit(functools.partial(loss_and_gradient, method))(Scores(logp), batch)
  policy, penalty = loops.grpo(p), loops.kl_term(p, 'k2', 'sequence_mean')
  size = policy[3] + 0.2 * penalty[2]
  assert abs(float(loss) - policy[0] - 0.2 * penalty[0]) <= 1e-5 * size
  expected = policy[1] + 0.2 * penalty[1]
  np.testing.assert_allclose(
    gradient.logp.reshape(expected.shape), expected, rtol=2e-5, atol=1e-6 * np.abs(expected).max()
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
  a = loss_and_gradient(methods.gspo(clip_low=0.2, clip_high=0.2), Scores(logp), batch)
  b = loss_and_gradient(methods.grpo(), Scores(logp), batch)
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), a, b)


def test_missing_reference_is_said_in_words():
  logp, batch = as_batch(problem(0, [4, 4]), 'groups')
  method = methods.plus(methods.grpo(), kl=methods.kl_to_reference(aggregation.token_mean, 0.1))
  with pytest.raises(ValueError, match='ref_logp, which is None'):
    loss_and_gradient(method, Scores(logp), batch.replace(ref_logp=None))
  with pytest.raises(ValueError, match='ref_logp, which is None'):
    methods.reinforce_pp(kl_coef=0.1).prepare((), batch.replace(ref_logp=None))
  with pytest.raises(ValueError, match='behavior_logp'):
    methods.reinforce_pp(kl_coef=0.1).prepare((), batch.replace(old_logp=None, behavior_logp=None))


def test_a_value_and_weights_of_different_shape_are_refused():
  logp, batch = as_batch(problem(0, [4, 4]), 'groups')
  method: Method = methods.grpo()
  policy = method.terms['policy']._replace(weights=aggregation.per_sequence)
  with pytest.raises(ValueError, match=r"'policy' has values of shape \(2, 4, 6\)"):
    loss_and_gradient(method._replace(terms={'policy': policy}), Scores(logp), batch)
