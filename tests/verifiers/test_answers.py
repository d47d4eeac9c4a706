"""Answers found in texts: boxes, hashes, tags, after the thinking, letters."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pairs import HOSTILE

from rljax.verifiers import (
  after_thinking,
  all_boxed,
  choice,
  gsm8k_answer,
  last_boxed,
  last_tagged,
  one_boxed,
  tagged,
)


@pytest.mark.parametrize(
  ('text', 'found'),
  [
    (r'a \boxed{12} b', '12'),
    (r'\boxed{1} then \boxed{2}', '2'),
    (r'\boxed{ 12 }', '12'),
    (r'\boxed {12}', '12'),
    ('\\boxed\n{12}', '12'),
    (r'\boxed{}', ''),
    (r'\boxed{\frac{1}{\sqrt{2}}}', r'\frac{1}{\sqrt{2}}'),
    (r'\boxed{{{{1}}}}', '{{{1}}}'),
    (r'\boxed{\{1, 2\}}', r'\{1, 2\}'),
    (r'\boxed{\left\{ 1 \right.}', r'\left\{ 1 \right.'),
    (r'\boxed{x \\}', r'x \\'),
    (r'\boxed{1}}}', '1'),
    (r'} \boxed{1}', '1'),
    (r'{ \boxed{1}', '1'),
    (r'\boxed 5', '5'),
    (r'$\boxed 5$ is it', '5'),
    (r'$\boxed \frac12$', r'\frac12'),
    ('\\boxed 5\nis it', '5'),
    (r'\boxed 5 \boxed 6', '6'),
    (r'\fbox{5}', '5'),
    (r'\boxed{5} and \fbox{6}', '5'),
    (r'\fbox{6} and \boxed{5}', '5'),
    (r'\boxed{\fbox{5}}', r'\fbox{5}'),
    (r'\boxed{\boxed{5}}', '5'),
    (r'\boxed{x = \boxed{5} }', '5'),
    (r'\\boxed{5}', '5'),
    (r'\boxed{1 and \boxed{2}', '2'),
    (r'\boxed{1', None),
    (r'\boxed{2}, so \boxed{3', None),
    (r'\boxed{2}, so \boxed', None),
    (r'\boxed', None),
    (r'\boxed{\}', None),
    (r'\boxedx{5}', None),
    (r'boxed{5}', None),
    ('5', None),
    ('', None),
  ],
)
def test_the_last_box(text, found):
  assert last_boxed(text) == found


@pytest.mark.parametrize(
  ('text', 'found'),
  [
    ('', []),
    (r'\boxed{1} \boxed 2$ \boxed{3', ['1', '2']),
    (r'\boxed{\boxed{1} \boxed{2}} \boxed{3}', ['1', '2', '3']),
    (r'\fbox{1} \fbox{2}', ['1', '2']),
    (r'\fbox{1} \boxed{2}', ['2']),
    (r'\boxed{1', []),
  ],
)
def test_all_boxes(text, found):
  assert all_boxed(text) == found


@pytest.mark.parametrize(
  ('text', 'found'),
  [
    (r'\boxed{1}', '1'),
    (r'\boxed{1} \boxed{1}', '1'),
    (r'\boxed{0.5} \boxed{\frac12}', r'\frac12'),
    (r'\boxed{x=1} \boxed{1}', '1'),
    (r'\boxed{1} \boxed{2}', None),
    (r'\boxed{1} \boxed{2} \boxed{1}', None),
    (r'\boxed{1} \boxed{}', None),
    (r'\boxed{} \boxed{1}', None),
    (r'\boxed{1} \boxed{1', None),
    (r'\boxed{}', None),
    ('1', None),
  ],
)
def test_several_different_boxes_are_no_answer(text, found):
  assert one_boxed(text) == found


def test_what_makes_boxes_the_same_is_an_argument():
  text = r'\boxed{0.5} \boxed{1/2}'
  assert one_boxed(text, str.__eq__) is None
  assert one_boxed(text) == '1/2'


@pytest.mark.parametrize(
  ('text', 'found'),
  [
    ('#### 5', '5'),
    ('2+3=5\n#### 5', '5'),
    ('####5', '5'),
    ('#### 5.', '5'),
    ('#### 5.0', '5.0'),
    ('#### 1,234', '1234'),
    ('#### 1,234,567.5.', '1234567.5'),
    ('#### -5', '-5'),
    ('#### \u22125', '-5'),
    ('#### $5', '5'),
    ('#### 5 apples', '5'),
    ('#### .5', '.5'),
    ('#### 5, so', '5'),
    ('#### 3 no #### 4', '4'),
    ('#### 3 no #### four', '3'),
    ('##### 5', '5'),
    ('### 5', None),
    ('#### five', None),
    ('#### -', None),
    ('#### 1,23', None),
    ('#### 1234,567', None),
    ('#### 1,2345', None),
    ('#### 1/2', None),
    ('#### 1e3', None),
    ('#### 2^3', None),
    ('5', None),
    ('####', None),
    ('', None),
  ],
)
def test_the_number_after_four_hashes(text, found):
  assert gsm8k_answer(text) == found


@pytest.mark.parametrize(
  ('text', 'one', 'last'),
  [
    ('<answer>5</answer>', '5', '5'),
    ('a <answer> 5\n</answer> b', '5', '5'),
    ('<answer></answer>', '', ''),
    ('<answer>5</answer><answer>6</answer>', None, '6'),
    ('<answer>5</answer><answer>', None, '5'),
    ('<answer>5</answer></answer>', None, '5'),
    ('<answer><answer>5</answer>', None, '5'),
    ('<answer>5', None, None),
    ('5</answer>', None, None),
    ('</answer>5<answer>', None, None),
    ('<Answer>5</Answer>', None, None),
    ('', None, None),
  ],
)
def test_tags(text, one, last):
  assert tagged(text) == one
  assert last_tagged(text) == last


def test_the_tag_is_an_argument():
  assert tagged('<final.x>5</final.x>', 'final.x') == '5'
  assert last_tagged('<a>1</a><b>2</b>', 'a') == '1'


@pytest.mark.parametrize(
  ('text', 'found'),
  [
    ('<think>a</think>5', '5'),
    ('a</think>5', '5'),
    ('</think>4</think> 5', ' 5'),
    ('<think>a</think>', ''),
    ('<think>5', None),
    ('', None),
  ],
)
def test_the_text_after_the_thinking(text, found):
  assert after_thinking(text) == found


@pytest.mark.parametrize(
  'answer',
  [
    'B',
    'b',
    ' B ',
    '(B)',
    'B)',
    'B.',
    '[B]',
    '(b).',
    r'\text{B}',
    r'\textbf{(B)}',
    '$B$',
    '**B**',
    'B: Paris',
    'B. Paris',
    'B) Paris',
    '(B) Paris',
    'B, Paris',
    'B - Paris',
    'Answer: B',
    'The answer is B',
    'The correct answer is (B).',
    'the final answer is: B',
    'option B',
    'Answer: option B. Paris',
  ],
)
def test_one_option_is_a_choice(answer):
  assert choice(answer) == 'B'


@pytest.mark.parametrize(
  'answer',
  [
    None,
    '',
    ' ',
    'A or B',
    'B or A',
    'A, B',
    'A and B',
    'B. or A.',
    'B (not A)',
    'A/B',
    'AB',
    'A B C D',
    'B. A dog',
    'A dog',
    'Bob',
    'E',
    '7',
    'not B',
    'either B',
    'B?',
    '(A)(B)',
    'the answer is',
    'B' * 3000,
  ],
)
def test_anything_else_is_no_choice(answer):
  assert choice(answer) is None


def test_the_letters_are_an_argument():
  assert choice('J', 'ABCDEFGHIJ') == 'J'
  assert choice('C', 'AB') is None
  assert choice('A. or C', 'AB') is None


@pytest.mark.parametrize('name', HOSTILE)
def test_hostile_texts_take_no_time(name):
  text = HOSTILE[name]
  start = time.process_time()
  for extract in (last_boxed, all_boxed, one_boxed, gsm8k_answer, tagged, last_tagged):
    extract(text)
  assert after_thinking(text) is None or name == 'thoughts'
  assert choice(text) is None
  assert time.process_time() - start < 10


@pytest.mark.parametrize(
  ('name', 'boxes'), [('unclosed', ['1']), ('boxes', []), ('box_of_boxes', [''])]
)
def test_boxes_of_hostile_texts(name, boxes):
  assert all_boxed(HOSTILE[name]) == boxes


@settings(deadline=None, derandomize=True)
@given(st.text())
def test_any_text_has_an_answer_or_none(text):
  for extract in (last_boxed, one_boxed, gsm8k_answer, tagged, last_tagged, after_thinking, choice):
    found = extract(text)
    assert found is None or isinstance(found, str)
  assert all(isinstance(found, str) for found in all_boxed(text))


NO_BOX = st.text().filter(lambda t: 'box' not in t)
BALANCED = st.recursive(
  st.text().filter(lambda t: not set(t) & set('{}\\')),
  lambda inner: st.lists(inner, max_size=3).map(lambda parts: ''.join(f'{{{p}}}' for p in parts)),
)


@settings(deadline=None, derandomize=True)
@given(NO_BOX, BALANCED, NO_BOX)
def test_what_is_put_into_a_box_is_found(before, content, after):
  content = content.strip()
  text = f'{before} \\boxed{{{content}}}{after}'
  if before.endswith('\\') or 'box' in content:
    return
  assert last_boxed(text) == content
  assert all_boxed(text) == [content]
  assert one_boxed(text) == (content or None)


@settings(deadline=None, derandomize=True)
@given(NO_BOX, st.from_regex(r'-?[0-9]{1,30}(\.[0-9]{1,5})?', fullmatch=True))
def test_what_is_put_after_hashes_is_found(before, content):
  if content.isascii():
    assert gsm8k_answer(f'{before}\n#### {content}') == content


@settings(deadline=None, derandomize=True)
@given(st.text(), st.text(), st.text())
def test_what_is_put_into_tags_is_found(before, content, after):
  assert last_tagged(f'{before}<answer>{content}</answer>{after}') is not None
  if not any('answer>' in t for t in (before, content, after)):
    assert tagged(f'{before}<answer>{content}</answer>{after}') == content.strip()
  if '</think>' not in content:
    assert after_thinking(f'{before}</think>{content}') == content
