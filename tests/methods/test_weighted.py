"""Methods that weigh groups or shape advantages, against loops; their combinators and state."""

import cases_weighted
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from harness import as_batch, assert_parity, loss_and_gradient, problem

from rljax import advantages, methods
from rljax.types import Scores


@pytest.mark.parametrize('name', cases_weighted.CASES)
def test_loss_and_gradient_equal_loops(name):
  # The prompt's confidence shifts solved groups of one too, so those have a gradient there.
  assert_parity(name, seeds=2)


def start(extras=cases_weighted.dynamics_extras, **kwargs):
  return as_batch(problem(0, [4, 4, 4], **kwargs), 'groups', extras=extras)


NEEDS = {
  'correct': methods.adora(max_length=9),
  'difference': methods.grpo_s(categories=2, gap_low=-1.0, gap_high=1.0),
  'predicted': methods.q_hawkeye(),
  'iou': methods.univg(),
  'difficulty': methods.gui_g1(),
  'prompt_confidence': methods.progrpo(alpha=1.0),
  'old_rank_dynamics': methods.verl(),
}


@pytest.mark.parametrize('name', NEEDS)
def test_a_missing_extra_is_said_in_words(name):
  _, batch = start()
  method = NEEDS[name]
  with pytest.raises(ValueError, match=rf"needs batch.extras\['{name}'\]"):
    method.prepare(method.init(), batch.replace(extras={}))


def test_weights_of_advantages_and_of_a_positive_loss_are_the_same():
  logp, batch = start(keep=True)
  weights = lambda b: 0.5 + b.rewards  # noqa: E731
  a = loss_and_gradient(
    methods.with_advantage_weights(weights, methods.grpo()), Scores(logp), batch
  )
  b = loss_and_gradient(methods.with_policy_weights(weights, methods.grpo()), Scores(logp), batch)
  plain = loss_and_gradient(methods.grpo(), Scores(logp), batch)
  np.testing.assert_allclose(a[0][0], b[0][0], rtol=1e-5)
  np.testing.assert_allclose(a[1].logp, b[1].logp, rtol=1e-5)
  assert np.abs(a[1].logp - plain[1].logp).max() > 1e-3


def test_weights_see_the_batch_before_the_method_shapes_it():
  inner = methods.with_rewards(lambda b: 0 * b.rewards, methods.reinforce())
  _, batch = start()
  _, prepared = methods.with_policy_weights(lambda b: b.rewards, inner).prepare((), batch)
  np.testing.assert_array_equal(prepared.extras['policy_weights'], batch.rewards)
  plain = methods.reinforce()
  _, prepared = methods.with_advantage_weights(lambda b: b.rewards, plain).prepare((), batch)
  np.testing.assert_allclose(prepared.advantages[..., 0], batch.rewards**2, rtol=1e-6)


def test_policy_weights_need_a_policy_term():
  method = methods.stateless(lambda b: b, other=methods.grpo().terms['policy'])
  with pytest.raises(ValueError, match="needs a term 'policy'"):
    methods.with_policy_weights(lambda b: b.rewards, method)


def test_policy_weights_are_not_nested():
  ones = lambda b: jnp.ones_like(b.rewards)  # noqa: E731
  method = methods.with_policy_weights(ones, methods.with_policy_weights(ones, methods.grpo()))
  with pytest.raises(ValueError, match='the product of the weights'):
    method.prepare((), start()[1])


def test_combinators_take_advantages_per_token():
  _, batch = start(extreme=False)
  base = methods.reinforce_pp()
  _, plain = base.prepare((), batch)
  sharp = methods.with_novelty(base).prepare((), batch)[1].advantages
  assert sharp.shape == plain.advantages.shape == batch.mask.shape
  assert (sharp >= plain.advantages).all() and (sharp > plain.advantages).any()
  later = methods.with_rank_bonus(base)
  state, _ = later.prepare(later.init(), batch)
  _, raised = later.prepare(state, batch)
  assert (raised.advantages >= plain.advantages).all()
  assert (raised.advantages > plain.advantages).any()


def test_verl_takes_three_steps_to_know_a_mean():
  method = methods.verl()
  prepare = jax.jit(method.prepare)
  state, plain = method.init(), methods.grpo()
  steps = [start(keep=True)[1]]
  for i in range(2):
    steps.append(
      steps[0].replace(extras={'old_rank_dynamics': steps[0].extras['old_rank_dynamics'] + i + 1})
    )
  mu = np.zeros(3)
  for i, batch in enumerate(steps):
    _, base = plain.prepare((), batch)
    bonus = advantages.rank_bonus(batch.extras['old_rank_dynamics'], jnp.asarray(mu, jnp.float32))
    expected = base.advantages[..., 0]
    if i > 0:
      expected = advantages.bounded_bonus(expected, bonus, limit=0.5)
    state, found = prepare(state, batch)
    np.testing.assert_allclose(found.advantages[..., 0], expected, rtol=1e-4, atol=1e-6)
    if i > 0:
      previous = np.asarray(steps[i - 1].extras['old_rank_dynamics'])[np.asarray(batch.keep) > 0]
      mu = 0.7 * mu + 0.3 * previous.mean(0)
      np.testing.assert_allclose(state['ranks'].means, mu, rtol=1e-5)
  assert np.abs(mu).min() > 0


def test_grpo_s_compares_with_all_batches_so_far():
  method = cases_weighted.CASES['grpo_s'].method
  _, batch = start(cases_weighted.scaling_extras)
  more = {**batch.extras, 'difference': batch.extras['difference'] + 1}
  state, _ = method.prepare(method.init(), batch)
  state, prepared = method.prepare(state, batch.replace(extras=more))
  _, alone = method.prepare(method.init(), batch.replace(extras=more))
  assert float(state['difference'].seen.sum()) == 24
  # The second batch is half a unit above what has been seen by then.
  ratio = np.abs(prepared.advantages).sum() / np.abs(alone.advantages).sum()
  assert ratio > 1.03


def test_a_category_of_outliers_alone_responds_as_usual():
  method = methods.grpo_s(categories=cases_weighted.CATEGORIES, gap_low=90.0, gap_high=99.0)
  _, batch = start(cases_weighted.scaling_extras)
  wide = methods.grpo_s(categories=cases_weighted.CATEGORIES, gap_low=-99.0, gap_high=99.0)
  _, found = method.prepare(method.init(), batch)
  _, expected = wide.prepare(wide.init(), batch)
  np.testing.assert_allclose(found.advantages, expected.advantages, rtol=1e-6)


def test_gui_g1_with_equal_difficulties_is_dr_grpo():
  logp, batch = start(lambda p: {'difficulty': np.ones(len(p['group']))})
  a = loss_and_gradient(methods.gui_g1(), Scores(logp), batch)
  b = loss_and_gradient(methods.dr_grpo(max_length=64), Scores(logp), batch)
  np.testing.assert_array_equal(a[1].logp, b[1].logp)


def test_what_prepare_reads_is_named():
  for method in (methods.progrpo(alpha=1.0), methods.xrpo(), methods.unlikeliness()):
    assert method.reads == ('logp',)
    _, batch = start(cases_weighted.PROMPT)
    with pytest.raises(ValueError, match='behavior_logp'):
      method.prepare(method.init(), batch.replace(old_logp=None, behavior_logp=None))


def test_an_answer_without_tokens_does_not_move_the_novelty_of_others():
  _, batch = start(lambda p: {})
  mask = batch.mask.at[:, 3].set(0.0)
  _, found = methods.xrpo().prepare((), batch.replace(mask=mask))
  wild = batch.old_logp.at[:, 3].set(1e3)
  _, same = methods.xrpo().prepare((), batch.replace(mask=mask, old_logp=wild))
  np.testing.assert_array_equal(found.advantages, same.advantages)
  novelty = advantages.novelty(
    jnp.where(mask > 0, batch.old_logp, 0).sum(-1) / jnp.maximum(mask.sum(-1), 1),
    (mask.sum(-1) > 0).astype(jnp.float32),
  )
  base = methods.grpo().prepare((), batch)[1].advantages[..., 0]
  np.testing.assert_allclose(
    found.advantages[..., 0], advantages.sharpen(base, novelty), rtol=1e-5, atol=1e-7
  )
