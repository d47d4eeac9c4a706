"""Columns from any score: what it raises or returns is counted and stops nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rljax.verifiers import BadTarget, Outcome, outcome_columns, verifier

COLUMNS = ['correct', 'score', 'failed', 'bad_target', 'timed_out']


def lists(columns):
  assert list(columns) == COLUMNS
  assert all(c.dtype == np.float32 for c in columns.values())
  return {name: column.tolist() for name, column in columns.items()}


def test_scores_become_columns():
  found = lists(
    verifier(lambda a, t: {'yes': 1.0, 'near': 0.5, 'no': 0.0}[a])(['yes', 'near', 'no'], 'ttt')
  )
  assert found['score'] == [1, 0.5, 0]
  assert found['correct'] == [1, 0, 0]
  assert found['failed'] == found['bad_target'] == found['timed_out'] == [0, 0, 0]


def test_where_right_begins_is_an_argument():
  judged = verifier(lambda a, t: float(a), right=0.5)
  assert judged(['0.5', '0.49'], ['', ''])['correct'].tolist() == [1, 0]


def raising(error):
  def score(answer, target):
    raise error

  return score


@pytest.mark.parametrize(
  'score',
  [
    raising(KeyError('x')),
    raising(RecursionError()),
    raising(MemoryError()),
    raising(SystemExit(0)),
    raising(BaseException()),
    lambda a, t: float('nan'),
    lambda a, t: float('inf'),
    lambda a, t: -0.1,
    lambda a, t: 1.1,
    lambda a, t: None,
    lambda a, t: '1',
    lambda a, t: 1j,
    lambda a, t: [1.0],
    lambda a, t: np.ones(3),
    lambda a: 1.0,
  ],
)
def test_failures_get_the_score_that_was_chosen_and_are_counted(score):
  found = lists(verifier(score, failure=-1.0)(['a', 'b'], ['c', 'd']))
  assert found['score'] == [-1, -1]
  assert found['correct'] == [0, 0]
  assert found['failed'] == [1, 1]
  assert found['bad_target'] == [0, 0]


@pytest.mark.parametrize(
  'value', [1, True, np.float32(1), np.bool_(True), np.int64(1), np.array(1)]
)
def test_numbers_of_every_kind_are_scores(value):
  assert lists(verifier(lambda a, t: value)(['a'], ['b']))['score'] == [1]


def test_the_interrupt_key_still_works():
  with pytest.raises(KeyboardInterrupt):
    verifier(raising(KeyboardInterrupt()))(['a'], ['b'])


def test_a_problem_without_a_usable_target_is_marked():
  def score(answer, target):
    if not target:
      raise BadTarget(target)
    return answer == target

  found = lists(verifier(score)(['a', ''], ['a', '']))
  assert found['bad_target'] == found['failed'] == [0, 1]
  assert found['score'] == [1, 0]


def test_a_truncated_completion_is_not_judged():
  found = lists(verifier(lambda a, t: 1.0, failure=-1.0)(['a', 'b'], ['', ''], [True, False]))
  assert found['score'] == found['correct'] == [0, 1]
  assert found['failed'] == [0, 0]


@pytest.mark.parametrize(
  ('targets', 'truncated'), [(['t'], None), (['t'] * 2, [0]), (['t'] * 2, 0)]
)
def test_lists_out_of_step_are_an_error(targets, truncated):
  with pytest.raises(ValueError, match='one target and one truncated flag per completion'):
    verifier(lambda a, t: 1.0)(['a', 'b'], targets, truncated)


@pytest.mark.parametrize('failure', [float('nan'), float('inf')])
def test_the_score_of_a_failure_is_finite(failure):
  with pytest.raises(ValueError, match='finite'):
    outcome_columns([Outcome(None, 'error')], failure=failure)


def test_nothing_to_judge_gives_empty_columns():
  assert lists(verifier(lambda a, t: 1.0)([], [])) == {name: [] for name in COLUMNS}


@settings(deadline=None, derandomize=True)
@given(st.lists(st.none() | st.floats() | st.text() | st.booleans(), max_size=8))
def test_one_score_in_range_for_each_sample_whatever_is_returned(values):
  found = verifier(lambda a, t: values[int(a)])([str(i) for i in range(len(values))], values)
  for column in found.values():
    assert column.shape == (len(values),)
    assert np.all((column >= 0) & (column <= 1))
  valid = [not isinstance(v, str) and v is not None and 0 <= v <= 1 for v in values]
  assert found['failed'].tolist() == [1 - v for v in valid]
