"""Answers in boxes, and sentences to predict."""

import time

import numpy as np
import pytest

from rljax import shaping, verifiers


@pytest.mark.parametrize(
  ('text', 'expected'),
  [
    (r'a \boxed{12} b', ('12', 'a ')),
    (r'\boxed{}', ('', '')),
    (r'\boxed{\frac{1}{\sqrt{2}}}', (r'\frac{1}{\sqrt{2}}', '')),
    (r'x \boxed{1} y \boxed{2}', ('1', 'x ')),
    (r'x \boxed{1 and \boxed{2}', ('2', r'x \boxed{1 and ')),
    (r'} x \boxed{a}b}', ('a', '} x ')),
    (r'boxed{3}', (None, 'boxed{3}')),
    (r'\boxed{3', (None, r'\boxed{3')),
    ('', (None, '')),
  ],
)
def test_the_first_closed_box(text, expected):
  assert verifiers.boxed(text) == expected


def test_hostile_texts_take_no_time():
  start = time.monotonic()
  for text in ('\\boxed{' * 30000, '{' * 200000, '}' * 200000, '\\boxed' * 30000):
    assert verifiers.boxed(text) == (None, text)
  assert time.monotonic() - start < 20


def test_columns_make_rewards():
  def same(answer, target):
    if answer == 'bad':
      raise ValueError
    return answer == target

  texts = [r'abcd\boxed{7}', r'abcdefgh\boxed{8}', 'abcd', r'abcd\boxed{bad}', r'\boxed{7}', '']
  columns = verifiers.boxed_columns(texts, ['7'] * 6, same)
  assert {k: v.tolist() for k, v in columns.items()} == {
    'correct': [1, 0, 0, 0, 1, 0],
    'answered': [1, 1, 0, 1, 1, 0],
    'characters': [4, 8, 4, 4, 0, 0],
    'failed': [0, 0, 0, 1, 0, 0],
  }
  found = shaping.rlsp(**columns, length_penalty=0.5)
  np.testing.assert_allclose(found, [0.5, -0.25, -1.0, 0.0, 0.0, 0.0])


def test_columns_need_a_target_for_each_text():
  with pytest.raises(ValueError, match='zip'):
    verifiers.boxed_columns(['a'], [], str.__eq__)


TEXT = 'It rains. Why? The sky is 3.5 km\nhigh!  Nobody knows'


def test_sentences_of_a_text():
  assert verifiers.sentences(TEXT) == [
    'It rains.',
    'Why?',
    'The sky is 3.5 km\nhigh!',
    'Nobody knows',
  ]
  assert verifiers.sentences('  ') == []


def test_next_segments_see_what_precedes_and_refer_to_all_that_follows():
  found = verifiers.next_segments('A. B. C.')
  assert found == [
    verifiers.Segment('A.', None, 'B. C.'),
    verifiers.Segment('A. B.', None, 'C.'),
  ]
  assert verifiers.next_segments('A.') == []


def test_middle_segments_see_the_sentence_after_the_gap():
  assert verifiers.middle_segments('A. B. C. D.') == [
    verifiers.Segment('A.', 'C.', 'B.'),
    verifiers.Segment('A. B.', 'D.', 'C.'),
  ]
  assert verifiers.middle_segments('A. B.') == []


def test_segment_columns_make_rewards():
  def judge(prediction, reference):
    if prediction == 'bad':
      raise ValueError
    return reference.startswith(prediction)

  asr, msr = verifiers.Segment('A.', None, 'B. C.'), verifiers.Segment('A.', 'C.', 'B.')
  columns = verifiers.segment_columns(
    ['B.', 'B.', 'X', None, ' ', 'bad'], [asr, msr, asr, asr, msr, asr], judge
  )
  assert {k: v.tolist() for k, v in columns.items()} == {
    'valid': [1, 1, 0, 0, 0, 0],
    'middle': [0, 1, 0, 0, 1, 0],
    'failed': [0, 0, 0, 0, 0, 1],
  }
  rewards = shaping.rlpt(columns['valid'], columns['middle'], middle_weight=0.25)
  np.testing.assert_allclose(rewards, [1.0, 0.25, 0.0, 0.0, 0.0, 0.0])
