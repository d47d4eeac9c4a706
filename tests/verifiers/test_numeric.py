"""Numbers in text: one spelling, and the reward for coming near."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rljax.verifiers import canonical, closeness


@pytest.mark.parametrize(
  ('text', 'spelling'),
  [
    ('5.00000000000000', '5'),
    ('-0', '0'),
    ('-0.0', '0'),
    ('0', '0'),
    ('100', '100'),
    ('0.50', '0.5'),
    ('-2.50', '-2.5'),
    ('1e3', '1000'),
    ('1.0E+2', '100'),
    ('25e-1', '2.5'),
    ('9' * 400, '9' * 400),
  ],
)
def test_every_number_has_one_spelling(text, spelling):
  assert canonical(text) == spelling
  assert canonical(spelling) == spelling


@pytest.mark.parametrize(
  'text',
  ['', '05', '+5', ' 5', '5 ', '5\n', '5.', '.5', '--5', 'nan', 'inf', '1e9999', '٥', '9' * 401],
)
def test_anything_else_is_no_number(text):
  assert canonical(text) is None
  assert closeness(text, '5') == 0.0


def by_hand(a, b):
  return 1 - 0.5 * min(abs(a - b), 1) - 0.5 * min(abs(a - b) / (abs(b) + 1e-6), 1)


@pytest.mark.parametrize(
  ('answer', 'target'),
  [
    ('2', '2'),
    ('1.5', '2'),
    ('99', '100'),
    ('-3', '3'),
    ('0.001', '0'),
    ('0', '0.5'),
    ('1e3', '7'),
  ],
)
def test_closeness_is_equation_two(answer, target):
  assert closeness(answer, target) == pytest.approx(by_hand(float(answer), float(target)), abs=1e-9)


def test_edge_values():
  assert closeness('5.0', '5') == 1.0
  assert closeness(None, '5') == 0.0
  assert closeness('0.001', '0') == pytest.approx(0.4995)
  assert closeness('9e999', '5') == 0.0
  assert closeness('99', '100') == pytest.approx(0.495)


@given(st.text(max_size=30), st.decimals(-1000, 1000, places=3))
def test_closeness_of_any_text_lies_between_0_and_1(text, target):
  target = canonical(str(target))
  assert 0.0 <= closeness(text, target) <= 1.0
  assert closeness(target, target) == 1.0


@pytest.mark.parametrize('target', ['', 'x', 'nan', '05'])
def test_a_target_that_is_no_number_is_an_error(target):
  with pytest.raises(ValueError, match='target'):
    closeness('5', target)
