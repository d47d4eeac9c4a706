"""Weights of tokens that another policy has drawn against loops in float64."""

import cases_off_policy
import jax.numpy as jnp
import numpy as np
import pytest
from harness import as_batch, assert_parity, loss_of_method, problem

from rljax import aggregation, methods, token_weights
from rljax.types import Batch, Scores


@pytest.mark.parametrize('name', cases_off_policy.CASES)
def test_loss_and_gradient_equal_loops(name):
  assert_parity(name)


def everything(method):
  """The method under every wrapper."""
  return [
    methods.with_truncated_importance(method),
    methods.with_masked_importance(method),
    methods.with_icepop(method),
    methods.with_batch_importance(method, cases_off_policy.normalized_tokens),
    methods.with_off_policy_mask(method),
  ]


def test_an_exact_sampler_changes_nothing():
  logp, batch = as_batch(problem(0, [4, 4], keep=True), 'groups')
  batch = batch.replace(behavior_logp=batch.old_logp)
  near = batch.replace(old_logp=logp + 0.1, behavior_logp=logp + 0.1)
  (expected, _), slope = loss_of_method(methods.gspo_token(), Scores(logp), near)
  assert np.abs(slope.logp).max() > 0
  for method in everything(methods.gspo_token()):
    (loss, terms), gradient = loss_of_method(method, Scores(logp), near)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient.logp, slope.logp, rtol=1e-6)
    assert float(terms.get('importance', 1.0)) == pytest.approx(1.0)
    assert float(terms.get('importance_masked', 0.0)) == 0


def test_what_is_left_out_has_no_gradient_and_stays_in_the_count():
  logp = jnp.zeros((1, 2, 2))
  behavior = jnp.log(jnp.array([[[0.25, 1.0], [1.0, 1.0]]]))  # one weight of 4
  batch = Batch(mask=jnp.ones_like(logp), rewards=jnp.array([[1.0, 0.0]]), behavior_logp=behavior)
  plain = methods.reinforce_token_mean()
  for method, masked in (
    (methods.with_icepop(plain), 1),
    (methods.with_masked_importance(plain), 2),
  ):
    (_, terms), gradient = loss_of_method(method, Scores(logp), batch)
    np.testing.assert_allclose(gradient.logp[0, 0], [0, 0 if masked == 2 else -0.25])
    assert float(terms['importance_masked']) == pytest.approx(masked / 4)
    assert float(terms['importance']) == pytest.approx(1 - masked / 4)


def test_everything_left_out_is_no_loss():
  logp = jnp.full((1, 2, 2), -1.0)
  batch = Batch(mask=jnp.ones_like(logp), rewards=jnp.array([[1.0, 2.0]]), behavior_logp=logp - 9.0)
  for wrap in (methods.with_icepop, methods.with_masked_importance):
    (loss, _), gradient = loss_of_method(wrap(methods.reinforce()), Scores(logp), batch)
    assert loss == 0 and (np.asarray(gradient.logp) == 0).all()


def test_an_off_policy_mask_spares_good_answers_and_reports_its_share():
  logp = jnp.full((1, 2, 2), -3.0)
  batch = Batch(mask=jnp.ones_like(logp), rewards=jnp.array([[1.0, 0.0]]), behavior_logp=logp + 1)
  method = methods.with_off_policy_mask(methods.grpo())
  (_, terms), gradient = loss_of_method(method, Scores(logp), batch)
  assert (np.asarray(gradient.logp[0, 0]) < 0).all() and (
    np.asarray(gradient.logp[0, 1]) == 0
  ).all()
  assert float(terms['off_policy_masked']) == 0.5


def test_mistakes_are_named():
  logp = jnp.full((1, 2, 2), -3.0)
  batch = Batch(mask=jnp.ones_like(logp), rewards=jnp.array([[1.0, 0.0]]))
  for method in everything(methods.grpo()):
    with pytest.raises(ValueError, match='behavior_logp, which is None'):
      loss_of_method(method, Scores(logp), batch)
  batch = batch.replace(behavior_logp=logp)
  with pytest.raises(ValueError, match='advantages, which is None'):
    bonus = methods.entropy_bonus(aggregation.token_mean, 1.0)
    method = methods.stateless(lambda b: b, entropy=bonus)
    loss_of_method(methods.with_off_policy_mask(method), Scores(logp, logp), batch)
  with pytest.raises(ValueError, match='values of shape'):
    loss_of_method(methods.with_icepop(methods.redi()), Scores(logp), batch)
  with pytest.raises(ValueError, match='0 <= low < high'):
    methods.with_icepop(methods.grpo(), low=2.0, high=1.0)
  with pytest.raises(ValueError, match=r"needs batch.extras\['old_entropy'\]"):
    method = methods.with_adaptive_entropy(methods.grpo(), target=1.0)
    loss_of_method(method, Scores(logp, -logp), batch)


def test_batch_weights_come_after_the_measure_of_the_method():
  plain = methods.plus(methods.reinforce())
  bounded = methods.with_kl_bound(plain, beta=1.0)
  logp = jnp.full((1, 2, 2), -1.0)
  batch = Batch(
    mask=jnp.ones_like(logp), rewards=jnp.ones((1, 2)), behavior_logp=logp, old_logp=logp + 0.5
  )

  def half(old_logp, behavior_logp, mask):
    return 0.5 * token_weights.truncated(
      token_weights.token_importance(old_logp, behavior_logp, mask), high=1.0
    )

  (loss, _), _ = loss_of_method(methods.with_batch_importance(bounded, half), Scores(logp), batch)
  (whole, _), _ = loss_of_method(bounded, Scores(logp), batch)
  assert float(loss) == pytest.approx(0.5 * float(whole), rel=1e-6)


def test_an_adaptive_bonus_carries_the_state_of_both():
  logp = jnp.full((1, 2, 2), -1.0)
  batch = Batch(
    mask=jnp.ones_like(logp),
    rewards=jnp.array([[1.0, 0.0]]),
    keep=jnp.array([[1.0, 0.0]]),
    extras={'old_entropy': jnp.array([[[0.2, 0.4], [9.0, 9.0]]])},
  )
  inner = methods.grpo()._replace(init=lambda: 7, prepare=lambda s, b: (s + 1, b))
  method = methods.with_adaptive_entropy(inner, target=0.35, step=0.25)
  assert method.reads == ('entropy',) and method.measure is None
  state, prepared = method.prepare(method.init(), batch)  # mean of kept tokens: 0.3
  assert state['inner'] == 8 and float(state['coef']) == 0.25
  assert float(prepared.constants['entropy_coef']) == 0.25
  state, prepared = method.prepare(state, batch.replace(keep=None))
  assert float(state['coef']) == 0 and float(prepared.constants['entropy_coef']) == 0
  again = methods.with_adaptive_entropy(methods.disco()._replace(reads=('entropy',)), target=1.0)
  assert again.reads == ('entropy',)
  state, prepared = again.prepare(again.init(), batch)
  kept_state, measured = again.measure(state, Scores(logp), prepared)
  assert kept_state == state and 'kl_excess' in measured.constants
