"""Methods that ask for short answers: against loops, and what they do at their edges."""

import cases_brevity as cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from harness import as_batch, assert_parity, problem

from configs import method as method_config
from rljax import methods, shaping
from rljax.types import Batch


@pytest.mark.parametrize('name', cases.CASES)
def test_loss_and_gradient_equal_loops(name):
  assert_parity(name)


def batch_of(correct, lengths, cut=None, **extras):
  """Groups `[P, G]` of given lengths, up to 8 tokens."""
  correct, truncated = np.float32(correct), np.float32(np.zeros_like(lengths))
  mask = np.float32(np.arange(8) < np.array(lengths)[..., None])
  truncated = truncated if cut is None else np.float32(cut)
  extras = {name: np.float32(x) for name, x in extras.items()}
  return jax.tree.map(
    jnp.asarray, Batch(mask=mask, rewards=correct, truncated=truncated, extras=extras)
  )


def prepared(method, batch, state=None):
  return jax.jit(method.prepare)(method.init() if state is None else state, batch)


def test_the_release_of_dler_keeps_prompts_whose_right_answers_are_truncated():
  batch = batch_of([[1, 0], [1, 1], [1, 0]], [[8, 3], [8, 3], [4, 4]], [[1, 0], [1, 0], [0, 0]])
  _, paper = prepared(methods.dler(), batch)
  _, release = prepared(methods.dler_release(), batch)
  np.testing.assert_array_equal(paper.keep, [[0, 0], [1, 1], [1, 1]])
  np.testing.assert_array_equal(release.keep, [[1, 1], [0, 0], [1, 1]])
  np.testing.assert_allclose(release.rewards, [[0.1, 0], [0.1, 1], [1, 0]], rtol=1e-6)


def test_the_boost_of_dler_is_added_after_all_else_to_right_answers_truncated_or_not():
  batch = batch_of([[1, 0], [1, 0]], [[8, 3], [5, 4]], [[1, 0], [0, 0]])
  (_, plain), (_, more) = (
    prepared(methods.dler_release(advantage_boost=b), batch) for b in (0.0, 0.25)
  )
  gain = (more.advantages - plain.advantages)[:, :, 0]
  np.testing.assert_allclose(gain, [[0.25, 0], [0.25, 0]], atol=1e-6)


def test_da_dler_cuts_easy_prompts_earlier_and_leaves_long_answers_of_hard_ones():
  correct, lengths = [[1, 1, 0, 1], [1, 0, 0, 0]], [[5, 4, 1, 8], [8, 2, 2, 2]]
  truncated = [[0, 0, 0, 1], [0, 0, 0, 0]]
  _, ready = prepared(methods.da_dler(max_length=8), batch_of(correct, lengths, truncated))
  np.testing.assert_array_equal(ready.rewards, [[0, 1, 0, 0], [1, 0, 0, 0]])
  # What is truncated does not make a prompt easy: one right answer of four is left.
  truncated = [[0, 1, 0, 1], [0, 0, 0, 0]]
  _, ready = prepared(methods.da_dler(max_length=8), batch_of(correct, lengths, truncated))
  np.testing.assert_array_equal(ready.rewards, [[1, 0, 0, 0], [1, 0, 0, 0]])


def test_da_dler_with_one_limit_is_dler():
  _, batch = as_batch(problem(0, [4, 4, 4], keep=True), 'groups')
  _, one = prepared(methods.da_dler(max_length=8, thresholds=(), shares=(1.0,)), batch)
  _, plain = prepared(methods.dler(), batch)
  np.testing.assert_array_equal(one.advantages, plain.advantages)
  assert np.abs(plain.advantages).max() > 0.1


def test_grpo_lambda_is_grpo_on_all_but_the_best_solved_prompts():
  batch = batch_of([[1, 0, 0], [1, 1, 0], [1, 1, 0]], [[1, 2, 3], [2, 4, 6], [2, 4, 6]])
  _, ready = prepared(methods.grpo_lambda(share=0.3, alpha=0.5), batch)
  np.testing.assert_array_equal(ready.rewards[jnp.array([0, 2])], [[1, 0, 0], [1, 1, 0]])
  brief = shaping.relative_length(batch.rewards, batch.lengths, alpha=0.5)[1]
  np.testing.assert_array_equal(ready.rewards[1], brief)
  assert brief[0] > brief[1] > brief[2] == 0


def test_groups_that_are_not_there_are_no_prompts_of_grpo_lambda():
  batch = Batch(
    mask=jnp.ones((4, 2)),
    rewards=jnp.array([1.0, 0.0, 1.0, 1.0]),
    group=jnp.array([1, 1, 5, 5]),
    group_shape=(7, 3),
  )
  _, ready = prepared(methods.grpo_lambda(share=0.5, alpha=0.5), batch)
  np.testing.assert_array_equal(ready.rewards, [1, 0, 0.75, 0.75])


def test_a_warm_up_leaves_the_length_reward_of_kimi_out():
  batch = batch_of([[1, 1, 0]], [[2, 4, 6]])
  method, state = methods.kimi_length(weight=0.5, warmup=2), None
  for step in range(4):
    state, ready = prepared(method, batch, state)
    expected = [[1, 1, 0]] if step < 2 else [[1.25, 1, -0.25]]
    np.testing.assert_array_equal(ready.rewards, expected)
  assert int(state) == 4


def test_the_limit_of_thinkprune_falls_after_every_round():
  batch = batch_of([[1, 1, 1, 0]], [[8, 6, 4, 1]])
  method, state = methods.thinkprune(max_length=8, shares=(1.0, 0.75, 0.5), steps=2), None
  for expected in ([1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 1, 0]):
    for _ in range(2):
      state, ready = prepared(method, batch, state)
      np.testing.assert_array_equal(ready.rewards, [expected])
  _, ready = prepared(method, batch, state)
  np.testing.assert_array_equal(ready.rewards, [[0, 0, 1, 0]])


def test_truncated_answers_are_wrong_and_out_of_the_comparison_in_efficient_reasoning():
  batch = batch_of([[1, 1, 0]], [[2, 8, 3]], [[0, 1, 0]])
  _, ready = prepared(methods.efficient_reasoning(alpha=0.5), batch)
  np.testing.assert_array_equal(ready.rewards, [[0.75, 0, 0]])


def test_truncated_answers_count_in_their_group_and_not_in_the_loss():
  batch = batch_of([[1, 0, 0]], [[2, 8, 3]], [[0, 1, 0]])
  _, ready = prepared(methods.grpo_overlong_filtered(), batch)
  _, plain = prepared(methods.grpo(), batch)
  np.testing.assert_array_equal(ready.keep, [[1, 0, 1]])
  np.testing.assert_array_equal(ready.advantages, plain.advantages)


@pytest.mark.parametrize('make', [methods.l1_exact, methods.l1_max])
def test_l1_reads_the_length_that_a_prompt_asks_for(make):
  method = make(alpha=0.25)
  assert method.needs == ('targets',)
  batch = batch_of([[1, 1, 1]], [[2, 4, 6]], targets=[[4, 4, 4]])
  _, ready = prepared(method, batch)
  expected = [[0.5, 1, 0.5]] if make is methods.l1_exact else [[1, 0.5, 0]]
  np.testing.assert_array_equal(ready.rewards, expected)


@pytest.mark.parametrize(
  ('method', 'message'),
  [
    (methods.l1_exact(), r"batch.extras\['targets'\], the length in tokens"),
    (methods.l1_max(), r"batch.extras\['targets'\]"),
    (methods.dler_release(), 'batch.truncated, which is None'),
    (methods.da_dler(max_length=4), 'batch.truncated, which is None'),
    (methods.efficient_reasoning(), 'batch.truncated, which is None'),
    (methods.grpo_overlong_filtered(), 'batch.truncated, which is None'),
  ],
)
def test_what_is_missing_is_said_in_words(method, message):
  _, batch = as_batch(problem(0, [4, 4]), 'groups')
  with pytest.raises(ValueError, match=message):
    jax.eval_shape(method.prepare, method.init(), batch.replace(truncated=None))


@pytest.mark.parametrize('name', sorted({name.split(',')[0] for name in cases.CASES}))
def test_configurations_build_them_and_their_limits_follow_the_run(name):
  config = method_config.get_config(name)
  config.rl.max_new_tokens, config.rl.steps = 20, 7
  arguments = config.method_kwargs.to_dict()
  assert arguments.get('max_length', 20) == 20 and arguments.get('overlong_buffer', 5) == 5
  assert name != 'thinkprune' or arguments['steps'] == 4
  assert getattr(methods, name)(**arguments).terms
