"""Rewards for form, and repeated n-grams."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pairs import HOSTILE

from rljax.verifiers import (
  repeated_ngrams,
  tagged_blocks,
  tags_format,
  think_format,
  turns_format,
)


@pytest.mark.parametrize(
  ('text', 'score'),
  [
    ('<think>a</think>b', 1),
    ('<think>\na\n</think>\nb', 1),
    ('<think>a <b> c</think>d', 1),
    ('<think></think>b', 1),
    ('<think>a</think>', 1),
    ('<think>a</think>b</think>', 1),
    ('<think>a</think>b\n\n', 1),
    ('<think>a b', 0),
    ('a</think>b', 0),
    (' <think>a</think>b', 0),
    ('a<think>b</think>', 0),
    ('<think>a<think>b</think>', 0),
    ('<think>a</think><think>', 0),
    ('</think><think>', 0),
    ('<THINK>a</THINK>', 0),
    ('', 0),
  ],
)
def test_think_format(text, score):
  assert think_format(text) == score


@pytest.mark.parametrize(
  ('text', 'score'),
  [
    ('<think>a</think><answer>b</answer>', 1),
    (' <think> a\n</think>\n\n<answer>b</answer>\n', 1),
    ('<think>a <b>c</b></think><answer>b</answer>', 1),
    ('<think>a</think>', 0),
    ('<answer>b</answer>', 0),
    ('<answer>b</answer><think>a</think>', 0),
    ('<think> </think><answer>b</answer>', 0),
    ('<think>a</think><answer></answer>', 0),
    ('<think>a</think> so <answer>b</answer>', 0),
    ('<think>a</think><answer>b</answer> bye', 0),
    ('so <think>a</think><answer>b</answer>', 0),
    ('<think>a</think><answer>b</answer><answer>c</answer>', 0),
    ('<think>a</think><answer>b', 0),
    ('<think>a<answer>b</answer></think>', 0),
    ('<think>a</think></think><answer>b</answer>', 0),
    ('<think><think>a</think><answer>b</answer>', 0),
    ('a</think><answer>b</answer>', 0),
    ('', 0),
  ],
)
def test_tags_format(text, score):
  assert tags_format(text) == score


def test_what_the_prompt_ends_with_belongs_to_the_text():
  assert tags_format('a</think><answer>b</answer>', given='<think>') == 1
  assert tags_format('<think>a</think><answer>b</answer>', given='<think>') == 0
  assert tags_format('</think><answer>b</answer>', given='<think>') == 0


def test_the_tags_are_an_argument():
  assert tags_format('<a.b>1</a.b>', ['a.b']) == 1
  assert tags_format('<axb>1</axb>', ['a.b']) == 0
  assert tagged_blocks('<a>1</a> <b>2</b><a>3</a>', 'ab') == [('a', '1'), ('b', '2'), ('a', '3')]
  assert tagged_blocks(' ', 'ab') == []
  assert tagged_blocks('<a>1</b>', 'ab') is None


@pytest.mark.parametrize(
  ('text', 'score'),
  [
    ('<answer>a</answer>', 1),
    ('<think>t</think><answer>a</answer>', 1),
    ('<think>t</think><search>s</search><information>i</information><answer>a</answer>', 1),
    ('<think>t</think><search>s</search><think>t</think>\n<answer>a</answer>\n', 1),
    ('<think>t</think>', 0),
    ('<answer>a</answer><think>t</think>', 0),
    ('<answer>a</answer><answer>a</answer>', 0),
    ('<search></search><answer>a</answer>', 0),
    ('<search>s<answer>a</answer>', 0),
    ('<think>t</think><answer>a</answer> more', 0),
    ('', 0),
  ],
)
def test_turns_format(text, score):
  assert turns_format(text) == score


def slow_repetition(words, n):
  seen, repeated, total = [], 0, 0
  for i in range(len(words) - n + 1):
    gram = words[i : i + n]
    repeated += gram in seen
    seen.append(gram)
    total += 1
  return repeated / total if total else 0.0


@settings(deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(['a', 'b', 'B', 'c']), max_size=30), st.integers(1, 4))
def test_repeated_ngrams_are_those_that_a_loop_has_seen(words, n):
  expected = slow_repetition([w.lower() for w in words], n)
  assert repeated_ngrams('  '.join(words), n) == pytest.approx(expected)


def test_repetition_by_hand():
  assert repeated_ngrams('go go go go', n=3) == 0.5
  assert repeated_ngrams('go on') == 0.0
  assert repeated_ngrams('') == 0.0
  assert repeated_ngrams('a ' * 1000, n=1) == pytest.approx(0.999)


@pytest.mark.parametrize('name', HOSTILE)
def test_hostile_texts_take_no_time(name):
  start = time.process_time()
  for score in (think_format, tags_format, turns_format):
    assert score(HOSTILE[name]) == 0.0
  assert 0.0 <= repeated_ngrams(HOSTILE[name]) < 1.0
  assert time.process_time() - start < 5


@settings(deadline=None, derandomize=True)
@given(st.text() | st.text('<>/think answer'))
def test_any_text_has_a_format_score(text):
  for score in (think_format, tags_format, turns_format):
    assert score(text) in (0.0, 1.0)
