"""Judging completions: strict answers, counted failures, hostile text, the canary."""

import time

import numpy as np
import pytest

from rljax import data
from rljax.verifiers import canary, exact, verify

TASKS = [
  'column_addition',
  'countdown',
  'multiplication',
  'random_calculation',
  'random_calculation_latex',
]


@pytest.mark.parametrize('target', ['0', '7', '-7', '120', '0.5', '-0.25', '10.05'])
def test_the_canonical_text_is_right(target):
  assert exact(target, target) == 1.0


@pytest.mark.parametrize(
  'answer',
  ['007', '07', '+7', '7.0', '7.', ' 7', '7 ', '7\n', '-7', '77', '', '٧', '７', '7e0', None],
)
def test_other_spellings_of_seven_are_wrong(answer):
  assert exact(answer, '7') == 0.0


@pytest.mark.parametrize('target', ['', '07', '7.0', '+7', '-0', 'x', '7\n', '٧', '1e3', '.5'])
def test_a_target_that_is_not_canonical_is_an_error(target):
  with pytest.raises(ValueError, match='canonical'):
    exact('7', target)


def judge(task, completions, truncated=None):
  problem = task.problems(np.random.default_rng(0), 1, 'train')[0]
  completions = [c(problem) if callable(c) else c for c in completions]
  flags = np.zeros(len(completions)) if truncated is None else truncated
  return verify(task, [problem] * len(completions), completions, flags)


def test_judgements_are_float_arrays_one_number_per_completion():
  task = data.column_addition()
  judged = judge(task, [task.solve, '0', ''], np.array([0.0, 0.0, 1.0], np.float32))
  assert set(judged) == {'correct', 'score', 'failed'}
  for array in judged.values():
    assert array.shape == (3,)
    assert array.dtype == np.float32
  np.testing.assert_array_equal(judged['correct'], [1, 0, 0])
  np.testing.assert_array_equal(judged['score'], [1, 0, 0])
  np.testing.assert_array_equal(judged['failed'], [0, 0, 0])


@pytest.mark.parametrize('name', TASKS)
def test_an_unterminated_completion_scores_nothing(name):
  task = data.get_task(name)
  judged = judge(task, [task.solve, task.solve], [True, False])
  np.testing.assert_array_equal(judged['correct'], [0, 1])
  np.testing.assert_array_equal(judged['score'], [0, 1])


def test_a_near_answer_has_a_score_and_is_not_correct():
  task = data.random_calculation_latex()

  def near(problem):
    return f'\\boxed{{{float(problem.answer) + 0.25}}}'

  judged = judge(task, [near])
  assert judged['correct'][0] == 0
  assert 0 < judged['score'][0] < 1


def raising(*_):
  raise KeyError('scorer')


@pytest.mark.parametrize(
  'broken',
  [
    {'score': raising},
    {'extract': raising},
    {'score': lambda *_: float('nan')},
    {'score': lambda *_: float('inf')},
    {'score': lambda *_: 1.5},
    {'score': lambda *_: -0.5},
    {'score': lambda *_: None},
  ],
)
def test_failures_of_a_scorer_are_zero_and_counted(broken):
  task = data.column_addition()
  judged = judge(task._replace(**broken), [task.solve, '1'])
  np.testing.assert_array_equal(judged['correct'], [0, 0])
  np.testing.assert_array_equal(judged['score'], [0, 0])
  np.testing.assert_array_equal(judged['failed'], [1, 1])


def test_lists_out_of_step_are_an_error():
  task = data.column_addition()
  problems = data.heldout(task, 2)
  for completions, truncated in ((['1'], [0]), (['1', '2'], [0]), (['1', '2'], [[0], [0]])):
    with pytest.raises(ValueError, match='one completion and one truncated flag per problem'):
      verify(task, problems, completions, np.array(truncated))


def test_nothing_to_judge_gives_empty_arrays():
  assert verify(data.column_addition(), [], [], [])['score'].shape == (0,)


MILLION = 10**6
HOSTILE = {
  'empty': '',
  'digits': '9' * MILLION,
  'boxed_digits': '\\boxed{' + '9' * MILLION + '}',
  'boxed_fraction': '\\boxed{0.' + '9' * MILLION + '}',
  'open': '(' * MILLION,
  'closed': ')' * MILLION,
  'nested': '(' * MILLION + '1' + ')' * MILLION,
  'equals': '=' * MILLION,
  'boxes': '\\boxed{' * (MILLION // 7),
  'braces': '\\boxed{' + '{' * MILLION + '}' * MILLION,
  'exponent': '\\boxed{9e999}',
  'exponents': '\\boxed{1e' + '9' * MILLION + '}',
  'signs': '\\boxed{' + '-' * MILLION + '1}',
  'zeros': ')' + '0' * MILLION + '1',
  'arabic': ')=\\boxed{٤٢}',
  'wide': ')=\\boxed{４２}',
  'nan': '\\boxed{nan}',
  'infinity': '\\boxed{-inf}',
  'nul': '\x00' * 1000,
  'surrogate': '\ud800',
  'code': '__import__("os")',
}


@pytest.mark.parametrize('name', TASKS)
@pytest.mark.parametrize('text', HOSTILE)
def test_hostile_text_is_judged_wrong_quickly_and_without_failure(name, text):
  task = data.get_task(name)
  problem = task.problems(np.random.default_rng(0), 1, 'train')[0]
  start = time.process_time()
  judged = verify(task, [problem], [HOSTILE[text]], [False])
  assert time.process_time() - start < 0.5
  assert judged['failed'][0] == judged['correct'][0] == judged['score'][0] == 0.0


@pytest.mark.parametrize('name', TASKS)
def test_the_canary_passes_for_every_task(name):
  canary(data.get_task(name))


@pytest.mark.parametrize(
  'broken',
  [
    {'score': lambda *_: 0.0},
    {'score': lambda *_: 1.0},
    {'score': raising},
    {'extract': lambda _: None},
    {'extract': raising},
    {'solve': lambda _: '0'},
  ],
)
def test_the_canary_notices_a_broken_task(broken):
  with pytest.raises(RuntimeError, match='misjudges'):
    canary(data.column_addition()._replace(**broken))


def test_the_canary_needs_two_answers():
  problem = data.Problem('1+1=', '2', 1, '1+1')
  task = data.column_addition()._replace(problems=lambda rng, n, split: [problem] * n)
  with pytest.raises(RuntimeError, match='answer'):
    canary(task)
