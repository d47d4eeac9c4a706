"""Methods that differ in their advantages: against loops, and what their arguments replace."""

import cases_advantages as cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from harness import as_batch, assert_parity, problem
from parity import assert_close

from rljax import advantages, methods
from rljax.types import Batch


@pytest.mark.parametrize('name', cases.CASES)
def test_loss_and_gradient_equal_loops(name):
  assert_parity(name)


def prepared(method, p, extras=cases.greedy, state=None):
  """The state and the advantages `[B]` that a method leaves behind, of equal groups."""
  _, batch = as_batch(p, 'groups', extras=extras)
  state, batch = method.prepare(method.init() if state is None else state, batch)
  return state, np.asarray(batch.advantages)[..., 0].reshape(-1)


def test_remax_without_a_kl_penalty_is_reward_less_greedy_reward():
  p = problem(0, [4, 4, 4])
  p['mask'][:, 0] = 1.0
  _, found = prepared(methods.remax(), p)
  expected = p['rewards'] - cases.greedy(p)['greedy_rewards']
  np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def test_copo_scores_consistent_groups_higher_when_asked_to():
  p = problem(0, [4, 4, 4])
  _, batch = as_batch(p, 'groups', extras=cases.answers)
  found = {}
  for consistent, score in (
    (False, advantages.success_rate),
    (True, advantages.consistent_success_rate),
  ):
    _, ready = methods.copo(score=score).prepare((), batch)
    found[consistent] = np.asarray(ready.extras['between_advantages']).reshape(-1)
    _, expected, _ = cases.copo_numbers(p, consistent)
    assert_close(found[consistent], expected, 1e-5, each=False)
  assert np.abs(found[True] - found[False]).max() > 0.01


def test_a_group_of_wrong_answers_is_trained_by_copo_between_groups_alone():
  rewards = jnp.array([[0.0, 0.0], [1.0, 0.0]])
  answers = {'answers': jnp.array([[1, 2], [0, 1]])}
  batch = Batch(mask=jnp.ones((2, 2, 3)), rewards=rewards, extras=answers)
  _, ready = methods.copo().prepare((), batch)
  np.testing.assert_array_equal(ready.advantages[0], 0.0)
  np.testing.assert_array_equal(ready.extras['local_weight'][0], 0.0)
  assert (ready.extras['between_advantages'][0] < -0.5).all()


def test_a_grae_can_follow_the_released_code():
  p = problem(1, [4, 4, 4], keep=True)
  _, found = prepared(methods.a_grae(estimate=advantages.a_grae_released), p)
  assert_close(found, cases.a_grae_advantage(p, released=True), 1e-5, each=False)
  _, paper = prepared(methods.a_grae(), p)
  assert np.abs(found - paper).max() > 0.1


def test_canon_by_length_discounts_the_long_half():
  p = problem(2, [4, 4, 4])
  method = methods.canon(max_length=9, metric='length', alpha_high=0.8)
  state, found = prepared(method, p)
  lengths = p['mask'].sum(-1)
  assert_close(found, cases.canon_advantage(p, lengths, 1.0, 0.8, 1.0), 1e-5, each=False)
  assert int(state) == 1 and method.reads == ()
  assert methods.canon(max_length=9).reads == ('entropy',)


def test_canon_knows_its_metrics():
  with pytest.raises(ValueError, match="metric is 'entropy', 'length' or a function, not 'size'"):
    methods.canon(max_length=9, metric='size')


def test_the_share_of_canon_may_follow_the_step_and_the_batch():
  p = problem(2, [4, 4, 4])
  lengths = p['mask'].sum(-1)

  def mu(step, batch):
    return batch.rewards.mean() / (step + 1)

  method = methods.canon(max_length=9, metric=lambda batch: batch.lengths, mu=mu)
  state = method.init()
  for step in range(2):
    state, found = prepared(method, p, state=state)
    share = p['rewards'].mean() / (step + 1)
    assert_close(found, cases.canon_advantage(p, lengths, share, 1.0, 1.0), 1e-5, each=False)


def test_risk_is_measured_against_quantiles_of_earlier_batches():
  method, state, tracked = methods.riskpo(bundle_size=2), None, None
  for seed in range(3):
    p = problem(seed, [4, 4, 4, 4])
    state, found = prepared(method, p, state=state)
    expected, scores = cases.riskpo_advantage(p, 2, tracked)
    assert_close(found, expected, 2e-5, each=False)
    if tracked is None:
      tracked = np.quantile(scores, [0.2, 0.8])
    else:
      below = [np.mean(np.array(scores) < q) for q in tracked]
      tracked = tracked + 0.1 * (np.array([0.2, 0.8]) - below)
    np.testing.assert_allclose(state.quantiles, tracked, rtol=1e-5)


def test_riskpo_can_follow_the_papers_objective():
  p = problem(0, [4, 4, 4])
  _, found = prepared(methods.riskpo_paper(bundle_size=2), p)
  expected, _ = cases.riskpo_advantage(p, 2, paper=True)
  assert_close(found, expected, 1e-5, each=False)
  assert np.abs(expected).max() > 0.1


def test_a_bundle_without_spread_is_left_alone_by_riskpo():
  method = methods.riskpo(bundle_size=2)
  right = Batch(mask=jnp.ones((2, 2, 3)), rewards=jnp.array([[1.0, 0.0], [1.0, 1.0]]))
  state, _ = method.prepare(method.init(), right)
  wrong = right.replace(rewards=jnp.zeros((2, 2)))
  _, ready = method.prepare(state, wrong)
  np.testing.assert_array_equal(ready.advantages, 0.0)


def test_dler_leaves_out_what_truncation_makes_all_wrong():
  rewards = jnp.array([[1.0, 0.0], [1.0, 1.0]])
  truncated = jnp.array([[1.0, 0.0], [1.0, 0.0]])
  batch = Batch(mask=jnp.ones((2, 2, 3)), rewards=rewards, truncated=truncated)
  _, ready = methods.dler().prepare((), batch)
  np.testing.assert_array_equal(ready.keep, [[0, 0], [1, 1]])
  np.testing.assert_array_equal(ready.rewards, [[0, 0], [0, 1]])
  np.testing.assert_array_equal(ready.advantages[0], 0.0)
  assert (ready.advantages[1, 0] < -0.8).all() and (ready.advantages[1, 1] > 0.8).all()


@pytest.mark.parametrize(
  ('method', 'message'),
  [
    (methods.remax(), r"batch.extras\['greedy_rewards'\]"),
    (methods.copo(), r"batch.extras\['answers'\]"),
    (methods.canon(max_length=9), r"batch.extras\['old_entropy'\]"),
    (methods.dler(), 'batch.truncated, which is None'),
  ],
)
def test_what_is_missing_is_said_in_words(method, message):
  _, batch = as_batch(problem(0, [4, 4]), 'groups')
  with pytest.raises(ValueError, match=message):
    jax.eval_shape(method.prepare, method.init(), batch.replace(truncated=None))
