"""Methods on shaped and on several rewards, against loops; their state."""

import cases_rewards
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from harness import all_cases, as_batch, assert_parity, loss_and_gradient, problem

from rljax import methods, shaping
from rljax.types import Scores


@pytest.mark.parametrize('name', cases_rewards.CASES)
def test_loss_and_gradient_equal_loops(name):
  assert_parity(name, seeds=2)


def start(extras, **kwargs):
  return as_batch(problem(0, [4, 4, 4], **kwargs), 'groups', extras=extras)


@pytest.mark.parametrize(
  ('name', 'needs'),
  [
    ('adactrl', ('tags',)),
    ('a2fm', ('modes', 'instant_accuracy')),
    ('hapo_length', ('prompt_id',)),
    ('o1_pruner', ('ref_length', 'ref_accuracy')),
    ('mrn', ('components',)),
    ('gdpo', ('components',)),
    ('dw_grpo', ('components',)),
  ],
)
def test_what_is_needed_is_named_and_missed_in_words(name, needs):
  case = all_cases()[name]
  assert case.method.needs == needs
  _, batch = start(case.extras)
  with pytest.raises(ValueError, match=rf"needs batch.extras\['{needs[0]}'\]"):
    case.method.prepare(case.method.init(), batch.replace(extras={}))


def test_the_memory_of_hapo_length_is_known_from_the_next_batch_on():
  _, batch = start(lambda p: {'prompt_id': p['group']})
  method = methods.hapo_length(prompts=4)
  prepare = jax.jit(method.prepare)
  state, first = prepare(method.init(), batch)
  np.testing.assert_array_equal(first.rewards, batch.extras['correct'])
  again, second = prepare(state, batch)
  right, n = np.asarray(batch.extras['correct']), np.asarray(batch.lengths)
  best = [
    min((m for m, c in zip(*g, strict=True) if c and m), default=np.inf)
    for g in zip(n, right, strict=True)
  ]
  np.testing.assert_array_equal(state['shortest'], [*best, np.inf])
  jax.tree.map(np.testing.assert_array_equal, again, state)
  expected = shaping.hapo_length(right, n, np.repeat(np.float32(best)[:, None], 4, axis=1))
  np.testing.assert_array_equal(second.rewards, expected)
  assert np.isfinite(best).all() and not (second.rewards == first.rewards).all()


def test_the_window_of_dw_grpo_moves_with_the_batches():
  method = methods.dw_grpo(rewards=2, window=3, temperature=0.1)
  _, batch = start(cases_rewards.tenths)
  found = np.asarray(batch.extras['components'])
  state, first = method.prepare(method.init(), batch)
  np.testing.assert_allclose(first.rewards, found.mean(-1), rtol=1e-5)  # one step has no slope
  lower = batch.replace(
    extras={**batch.extras, 'components': jnp.asarray(found - np.float32([0.1, 0.0]))}
  )
  _, second = method.prepare(state, lower)
  share = 1 / (1 + np.exp(-1.0))  # slopes -0.1 and 0 at a temperature of 0.1
  np.testing.assert_allclose(second.rewards, (found - [0.1, 0.0]) @ [share, 1 - share], rtol=1e-4)


def test_the_paper_of_adactrl_pays_only_those_that_say_easy():
  _, batch = start(cases_rewards.TAGS)
  sizes = dict(max_length=6, overlong_buffer=0)
  code, paper = (
    methods.adactrl(**sizes, reward=reward).prepare((), batch)[1].rewards
    for reward in (shaping.adactrl, shaping.adactrl_paper)
  )
  hard = np.asarray(batch.extras['tags']) == 1
  assert (np.asarray(paper)[hard] <= np.asarray(code)[hard]).all() and (paper != code).any()


def test_adactrl_selects_groups_by_correctness_where_rewards_are_all_there_is():
  _, batch = start(cases_rewards.TAGS)
  extras = {'tags': batch.extras['tags']}
  batch = batch.replace(rewards=batch.extras['correct'], extras=extras)
  _, found = methods.adactrl(max_length=6, overlong_buffer=3).prepare((), batch)
  mixed = np.ptp(np.asarray(batch.rewards), axis=-1) > 0
  np.testing.assert_array_equal(found.keep, np.repeat(mixed[:, None], 4, axis=1))
  assert mixed.any() and not mixed.all()


def hypervolume_batch(validation):
  logp, batch = start(cases_rewards.tenths, extreme=False)
  return logp, batch.replace(constants={'validation': jnp.array(validation)})


@pytest.mark.nightly
@pytest.mark.slow
def test_hypervolume_scales_the_gradient_of_the_weighted_rewards():
  inner = methods.dr_grpo(max_length=6)
  method = methods.with_hypervolume(inner, reference=[0.0, 0.0], capacity=4, weights=[0.25, 0.75])
  state = method.init()
  # No checkpoint yet, one that adds a box of 1, one that adds nothing, none again.
  steps = [
    ([np.nan, np.nan], 1.0),
    ([1.0, 1.0], 0.5 + 1.5 * np.tanh(1.0)),
    ([0.5, 1.0], 0.5),
    ([np.nan, 1.0], 0.5),
  ]
  for validation, factor in steps:
    logp, batch = hypervolume_batch(validation)
    total = np.asarray(batch.extras['components']) @ np.float32([0.25, 0.75])
    plain = loss_and_gradient(inner, Scores(logp), batch.replace(rewards=jnp.asarray(total)))
    found = loss_and_gradient(method, Scores(logp), batch, state)
    np.testing.assert_allclose(found[1].logp, factor * plain[1].logp, rtol=2e-4, atol=1e-7)
    state, prepared = method.prepare(state, batch)
    np.testing.assert_allclose(prepared.rewards, factor * total, rtol=1e-5)
  assert np.abs(found[1].logp).max() > 1e-3


def test_a_deviation_cancels_the_multiplier_of_hypervolume():
  method = methods.with_hypervolume(methods.grpo(eps=0.0), reference=[0.0, 0.0], capacity=1)
  gradients = []
  for validation in ([np.nan, np.nan], [1.0, 1.0]):
    logp, batch = hypervolume_batch(validation)
    gradients.append(np.asarray(loss_and_gradient(method, Scores(logp), batch)[1].logp))
  np.testing.assert_allclose(*gradients, rtol=1e-3, atol=1e-6)
  assert np.abs(gradients[0]).max() > 1e-3


def test_hypervolume_says_what_it_needs():
  method = methods.with_hypervolume(methods.rloo(), reference=[0.0], capacity=1)
  assert method.needs == ('components', 'validation')
  _, batch = start(cases_rewards.tenths)
  with pytest.raises(ValueError, match=r"needs batch.constants\['validation'\]"):
    method.prepare(method.init(), batch)
