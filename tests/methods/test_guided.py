"""Loss and gradient of the guided methods against loops in float64."""

import functools

import cases_guided
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from harness import as_batch, as_scores, assert_parity, loss_and_gradient, problem

from rljax import methods, training
from rljax.types import Scores


@pytest.mark.parametrize('name', cases_guided.CASES)
def test_loss_and_gradient_equal_loops(name):
  assert_parity(name)


def run(method, scores, batch):
  options = {'xla_backend_optimization_level': 0}
  return jax.jit(functools.partial(loss_and_gradient, method), compiler_options=options)(
    scores, batch
  )


def trial(method, p, extras):
  _, batch = as_batch(p, 'groups', extras=extras)
  return run(method, as_scores(p, 'groups', cases_guided.entropies), batch)


def test_defaults_are_those_of_the_sources():
  p = problem(1, [4, 4, 4], keep=True)
  expected = {
    'apo': (methods.apo(), cases_guided.apo(p, 1e-3, 1.00001)),
    'one_shot': (methods.one_shot(), cases_guided.one_shot(p, 1.0, 1e-3, 1e-3)),
    'seele': (methods.seele(max_length=7), cases_guided.seele(p, 7, 1e-3, 1e-3)),
  }
  for method, wanted in expected.values():
    (loss, _), gradient = trial(method, p, cases_guided.hints)
    assert abs(float(loss) - wanted.loss) <= 1e-5 * wanted.size
    slope = wanted.gradients['logp']
    atol = 1e-6 * np.abs(slope).max()
    np.testing.assert_allclose(gradient.logp.reshape(slope.shape), slope, rtol=2e-5, atol=atol)


@pytest.mark.parametrize(
  ('method', 'name'),
  [
    (methods.apo(), 'correct'),
    (methods.calibrl(), 'expert_logp'),
    (methods.seele(max_length=5), 'hint_mask'),
  ],
)
def test_what_is_missing_is_named(method, name):
  p = problem(0, [4, 4])
  logp, batch = as_batch(p, 'groups')
  bare = batch.replace(extras={})
  with pytest.raises(ValueError, match=rf"needs batch.extras\['{name}'\]"):
    jax.eval_shape(functools.partial(loss_and_gradient, method), Scores(logp), bare)


def test_every_prompt_of_calibrl_has_an_expert_unless_it_is_said():
  p = problem(0, [4, 4, 4], keep=True)
  wanted = cases_guided.calibrl(p, guided=False)
  some = cases_guided.calibrl(p)
  (loss, _), _ = trial(
    methods.calibrl(), p, lambda p: {'expert_logp': cases_guided.expert(p)['expert_logp']}
  )
  assert abs(float(loss) - wanted.loss) <= 1e-5 * wanted.size
  assert abs(wanted.loss - some.loss) > 1e-4 * wanted.size


def test_what_no_expert_said_is_not_read():
  p = problem(0, [4, 4, 4], keep=True)
  logp, batch = as_batch(p, 'groups', extras=cases_guided.expert)
  silent = (batch.mask == 0) | (batch.extras['has_expert'][..., None] == 0)
  expert = jnp.where(silent, jnp.nan, batch.extras['expert_logp'])
  spoilt = batch.replace(extras={**batch.extras, 'expert_logp': expert})
  clean = run(methods.calibrl(), Scores(logp), batch)
  found = run(methods.calibrl(), Scores(logp), spoilt)
  jax.tree.map(np.testing.assert_array_equal, found, clean)


def test_seele_trains_no_token_of_a_hint_by_reward_and_none_of_the_answer_by_imitation():
  p = problem(0, [4, 4, 4])
  _, batch = as_batch(p, 'groups', extras=cases_guided.hints)
  scores = as_scores(p, 'groups')
  slopes = {}
  for name in ('policy', 'hint', 'kl'):
    method = methods.seele(max_length=5)
    method = method._replace(terms={name: method.terms[name]})
    slopes[name] = np.asarray(run(method, scores, batch)[1].logp)
    assert np.abs(slopes[name]).max() > 0
  hint = np.asarray(batch.extras['hint_mask'] * batch.mask) > 0
  assert (slopes['policy'][hint] == 0).all() and (slopes['kl'][hint] == 0).all()
  assert (slopes['hint'][~hint] == 0).all()
  np.testing.assert_allclose(slopes['hint'][hint], -1e-3 / hint.sum(), rtol=1e-6)


def test_without_hints_seele_is_dr_grpo_with_a_penalty():
  p = problem(0, [4, 4, 4])
  logp, batch = as_batch(p, 'groups', extras=lambda p: {'hint_mask': 0 * p['mask']})
  (loss, terms), gradient = run(methods.seele(max_length=5, kl_coef=0.0), Scores(logp), batch)
  (alone, _), slope = run(methods.dr_grpo(max_length=5), Scores(logp), batch)
  assert float(terms['hint']) == 0 and float(loss) == pytest.approx(float(alone), rel=1e-6)
  np.testing.assert_allclose(gradient.logp, slope.logp, rtol=1e-6)


def test_a_saturated_prompt_leaves_one_shot_with_entropy_and_penalty():
  p = problem(0, [4, 4, 4])
  logp, batch = as_batch({**p, 'rewards': np.ones(12)}, 'groups')
  scores = Scores(logp, entropy=-logp)
  (loss, terms), _ = run(methods.one_shot(), scores, batch)
  assert float(terms['policy']) == 0 and float(terms['entropy']) != 0 and float(terms['kl']) > 0
  expected = 1e-3 * (float(terms['entropy']) + float(terms['kl']))
  assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_ghpo_learns_nothing_from_a_prompt_that_fails_with_every_hint():
  p = problem(0, [4, 4, 4])
  logp, batch = as_batch({**p, 'rewards': np.zeros(12)}, 'groups')
  (loss, _), gradient = run(methods.ghpo(), Scores(logp), batch)
  assert loss == 0 and (np.asarray(gradient.logp) == 0).all()


def test_an_empty_critique_is_no_loss():
  p = problem(0, [4, 4, 4])
  _, batch = as_batch(p, 'groups')
  batch = batch.replace(mask=batch.mask.at[1].set(0.0))
  weights = training.weigh(methods.cft(), batch)['imitation']
  assert (np.asarray(weights[1]) == 0).all() and float(weights.sum()) == pytest.approx(1.0)
