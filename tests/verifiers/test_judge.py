"""Judges: parsing of replies, both orders, counted failures."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pairs import HOSTILE

from rljax.verifiers import (
  Judge,
  model_judge,
  pair_scores,
  prefer_columns,
  preference,
  rate_columns,
  rating,
  rule_judge,
)


@pytest.mark.parametrize(
  ('reply', 'value'),
  [
    ('[[7]]', 0.7),
    ('The answer is fine. [[ 7.5 ]] Thanks.', 0.75),
    ('[[3]] no: [[4]]', 0.4),
    ('Score: 7', 0.7),
    ('score = 7.', 0.7),
    ('**Score:** 7/10', 0.7),
    ('"score": 7}', 0.7),
    ('The rating is 10', 1.0),
    ('rating: 3 ... rating: 4', 0.4),
    ('score: 3 [[4]]', 0.4),
    ('7', 0.7),
    (' 7.\n', 0.7),
    ('0', 0.0),
    ('[[7/10]]', 0.7),
    ('[[3/5]]', None),
    ('score: 3/5', None),
    ('score: 3/100', None),
    ('[[11]]', None),
    ('[[-1]]', None),
    ('[[5]] [[11]]', None),
    ('[[seven]]', None),
    ('seven', None),
    ('7 of 10 are right', None),
    ('score: high', None),
    ('[[\u0667]]', None),
    ('', None),
  ],
)
def test_the_rating_in_a_reply(reply, value):
  assert rating(reply) == (None if value is None else pytest.approx(value))


def test_the_scale_is_an_argument():
  assert rating('[[3]]', low=1, high=5) == 0.5
  assert rating('[[0]]', low=1, high=5) is None
  assert rating('[[0]]', low=-1, high=1) == 0.5


@pytest.mark.parametrize(
  ('reply', 'value'),
  [
    ('[[A]]', 1.0),
    ('A is good. [[b]]', 0.0),
    ('[[C]]', 0.5),
    ('[[tie]]', 0.5),
    ('[[A]] no, [[B]]', 0.0),
    ('Verdict: A', 1.0),
    ('**Winner:** B', 0.0),
    ('A', 1.0),
    (' b.', 0.0),
    ('tie', 0.5),
    ('A or B', None),
    ('A is better', None),
    ('Verdict: All are bad', None),
    ('[[D]]', None),
    ('', None),
  ],
)
def test_the_preference_in_a_reply(reply, value):
  assert preference(reply) == value


@settings(deadline=None, derandomize=True)
@given(st.text() | st.text('[]0123456789.-:scoreABC '))
def test_any_reply_is_parsed(reply):
  assert rating(reply) is None or 0.0 <= rating(reply) <= 1.0
  assert preference(reply) in (None, 0.0, 0.5, 1.0)


@pytest.mark.parametrize('name', HOSTILE)
def test_hostile_replies_say_nothing(name):
  assert rating(HOSTILE[name]) is None
  assert preference(HOSTILE[name]) is None


def test_a_rule_rates_and_prefers():
  def score(prompt, completion):
    return {'good': 1.0, 'fair': 0.5, 'nan': float('nan')}[completion]

  judge = rule_judge(score)
  found = rate_columns(judge, ['p'] * 4, ['good', 'fair', 'nan', 'bad'], failure=0.25)
  assert found['score'].tolist() == [1, 0.5, 0.25, 0.25]
  assert found['failed'].tolist() == [0, 0, 1, 1]
  found = prefer_columns(
    judge, ['p'] * 4, ['good', 'fair', 'fair', 'bad'], ['fair', 'good', 'fair', 'good']
  )
  assert found['first'].tolist() == [1, 0, 0.5, 0.5]
  assert found['failed'].tolist() == [0, 0, 0, 1]
  assert found['consistent'].tolist() == [1, 1, 1, 0]


def test_a_liking_for_the_first_place_cancels():
  judge = Judge(rate=None, prefer=lambda prompts, firsts, seconds: [1.0] * len(prompts))
  found = prefer_columns(judge, ['p'], ['a'], ['b'])
  assert found['first'].tolist() == [0.5]
  assert found['consistent'].tolist() == [0]
  assert found['failed'].tolist() == [0]


@pytest.mark.parametrize(
  'prefer',
  [
    lambda p, a, b: [1.0] * (len(p) - 1),
    lambda p, a, b: 1.0,
    lambda p, a, b: [None] * len(p),
    lambda p, a, b: ['1'] * len(p),
    lambda p, a, b: [1.5] * len(p),
    lambda p, a, b: [np.ones(2)] * len(p),
    lambda p, a, b: 1 / 0,
  ],
)
def test_what_is_no_preference_is_a_failure(prefer):
  judge = Judge(rate=prefer, prefer=prefer)
  found = prefer_columns(judge, ['p', 'q'], ['a', 'b'], ['c', 'd'], failure=0.25)
  assert found['failed'].tolist() == [1, 1]
  assert found['first'].tolist() == [0.25, 0.25]


def test_lists_out_of_step_are_an_error():
  judge = rule_judge(lambda prompt, completion: 1.0)
  with pytest.raises(ValueError, match='lists of one length'):
    rate_columns(judge, ['p'], ['a', 'b'])
  with pytest.raises(ValueError, match='lists of one length'):
    prefer_columns(judge, ['p'], ['a', 'b'], ['c'])


def longest(question):
  first, second = question.split('|')[1:]
  return '[[A]]' if len(first) > len(second) else '[[B]]' if len(first) < len(second) else '[[C]]'


def asked(generate, **scale):
  return model_judge(
    generate,
    rate_template='Rate for {prompt} the text |{completion}',
    prefer_template='{prompt}|{first}|{second}',
    **scale,
  )


def test_a_model_is_asked_once_for_a_batch():
  seen = []

  def generate(questions):
    seen.append(questions)
    return [f'[[{len(q.split("|")[1])}]]' for q in questions]

  found = rate_columns(asked(generate), ['p', 'q'], ['four', '\\frac{1}{2} of it'])
  assert seen == [['Rate for p the text |four', 'Rate for q the text |\\frac{1}{2} of it']]
  assert found['score'].tolist() == [np.float32(0.4), 0.0]
  assert found['failed'].tolist() == [0, 1]


def test_a_model_compares_in_both_orders():
  seen = []

  def generate(questions):
    seen.extend(questions)
    return [longest(q) for q in questions]

  found = prefer_columns(asked(generate), ['p', 'q'], ['aa', 'b'], ['c', 'd'])
  assert seen == ['p|aa|c', 'q|b|d', 'p|c|aa', 'q|d|b']
  assert found['first'].tolist() == [1, 0.5]
  assert found['consistent'].tolist() == [1, 1]


def test_a_text_that_names_a_field_stays_a_text():
  seen = []
  judge = asked(lambda questions: seen.extend(questions) or ['[[1]]'] * len(questions))
  judge.rate(['{completion}'], ['{prompt} \\1 {other}'])
  assert seen == ['Rate for {completion} the text |{prompt} \\1 {other}']


def unreachable(questions):
  raise ConnectionError


@pytest.mark.parametrize('generate', [unreachable, lambda q: ['[[1]]'], lambda q: ['no'] * len(q)])
def test_a_model_that_does_not_answer_fails_and_stops_nothing(generate):
  found = rate_columns(asked(generate), ['p', 'q'], ['a', 'b'], failure=0.5)
  assert found['score'].tolist() == [0.5, 0.5]
  assert found['failed'].tolist() == [1, 1]


def test_the_scale_of_a_model_is_checked():
  with pytest.raises(ValueError, match='low < high'):
    asked(unreachable, low=5, high=5)


def test_all_pairs_of_a_group():
  found = pair_scores(asked(lambda qs: [longest(q) for q in qs]), 'p', ['aaa', 'b', 'cc', 'd'])
  np.testing.assert_array_equal(
    found['scores'], [[0.5, 1, 1, 1], [0, 0.5, 0, 0.5], [0, 1, 0.5, 1], [0, 0.5, 0, 0.5]]
  )
  assert not found['failed'].any()
  failing = pair_scores(asked(unreachable), 'p', ['a', 'b'], failure=0.0)
  np.testing.assert_array_equal(failing['scores'], [[0.5, 0], [0, 0.5]])
  np.testing.assert_array_equal(failing['failed'], [[0, 1], [1, 0]])


@pytest.mark.parametrize('size', [0, 1])
def test_a_group_without_pairs(size):
  found = pair_scores(asked(unreachable), 'p', ['a'] * size)
  np.testing.assert_array_equal(found['scores'], np.full((size, size), 0.5))
