"""Equal answers: the table of verdicts, units, limits, and any text at all."""

import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pairs import HOSTILE, table

from rljax.verifiers import number, plain_latex, same_answer, same_number, same_text


def test_the_table_has_many_rows_of_each_verdict():
  verdicts = [row[0] for row in table()]
  assert len(verdicts) >= 200
  assert min(verdicts.count(0.0), verdicts.count(1.0)) >= 80
  assert len({row[2:4] for row in table()}) == len(verdicts)


@pytest.mark.parametrize('why', sorted({row[4] for row in table()}))
def test_the_verdicts_of_the_table(why):
  for plain, _, answer, target, _ in (row for row in table() if row[4] == why):
    assert same_answer(answer, target) is bool(plain), (answer, target)


@pytest.mark.parametrize(
  ('answer', 'units', 'value'),
  [
    ('5 cm', ['cm'], 5),
    ('5cm', ['cm'], 5),
    ('5\\text{ cm}', ['cm'], 5),
    ('$5\\ \\text{cm}$', ['cm'], 5),
    ('\\$5', ['\\$'], 5),
    ('$5', ['\\$'], 5),
    ('\\$1,000.50', ['$'], Fraction('1000.5')),
    ('90^\\circ', ['^\\circ'], 90),
    ('90°', ['^\\circ'], 90),
    ('50%', ['%'], 50),
    ('50\\%', ['\\%'], 50),
    ('5 km/h', ['km', 'km/h'], 5),
    ('\\frac{1}{2} cm', ['cm'], Fraction(1, 2)),
    ('5', ['cm'], 5),
    ('5 mm', ['cm'], None),
    ('5 cm cm', ['cm'], None),
    ('cm', ['cm'], None),
    ('5 cm', [], None),
    ('5 cm', [''], None),
  ],
)
def test_only_the_units_that_are_named_are_stripped(answer, units, value):
  assert number(answer, units=units) == value


def test_a_unit_may_stand_at_either_side_of_a_comparison():
  assert same_number('5 cm', '5', units=['cm'])
  assert same_number('5', '5 cm', units=['cm'])
  assert not same_number('5 cm', '5')


@pytest.mark.parametrize('target', ['', 'x', '5 cm', '1,00', '1/0', 'nan', '1e9999'])
def test_a_target_that_is_no_number_is_an_error(target):
  with pytest.raises(ValueError, match='target'):
    same_number('5', target)


@pytest.mark.parametrize('same', [same_text, same_answer])
def test_a_blank_target_is_an_error(same):
  with pytest.raises(ValueError, match='blank'):
    same('', ' ')


@pytest.mark.parametrize('same', [same_number, same_text, same_answer])
def test_no_answer_is_wrong(same):
  assert not same(None, '5')
  assert not same('', '5')


def test_text_is_not_computed():
  assert same_text('\\frac{1}{2}', '1/2')
  assert not same_text('2/4', '1/2')
  assert not same_text('0.5', '1/2')


def test_digits_and_exponents_are_bounded():
  assert number('9' * 1000) == 10**1000 - 1
  assert number('9' * 1001) is None
  assert number('1e999') == 10**999
  assert number('1e-999') == Fraction(1, 10**999)
  assert number('1e1000') is None
  assert number('1/' + '9' * 998) == Fraction(1, 10**998 - 1)


@pytest.mark.parametrize('name', HOSTILE)
def test_hostile_answers_are_wrong_at_once(name):
  text = HOSTILE[name]
  start = time.process_time()
  assert number(text) is None
  assert not same_answer(text, '5')
  assert not same_answer(text, 'x+1')
  assert same_answer(text, text)
  plain_latex(text)
  assert time.process_time() - start < 2


@settings(deadline=None, derandomize=True)
@given(st.text(), st.text())
def test_any_text_has_a_verdict(answer, target):
  assert number(answer) is None or isinstance(number(answer), Fraction)
  if target.strip():
    assert same_answer(target, target)
    assert same_answer(answer, target) in (True, False)
    assert same_text(target, target)


LATEX = st.text('0123456789.,/+-{}()[]\\$%^_=<> eExfract\u2212', max_size=40)


@settings(deadline=None, derandomize=True)
@given(LATEX, LATEX)
def test_what_looks_like_latex_has_a_verdict_that_does_not_depend_on_the_order(a, b):
  if a.strip() and b.strip():
    assert same_text(a, b) == same_text(b, a)
    assert same_answer(a, b) == same_answer(b, a)


@settings(deadline=None, derandomize=True)
@given(st.fractions(max_denominator=10**6), st.integers(1, 1000))
def test_every_spelling_of_a_fraction_is_the_same_number(value, factor):
  top, bottom = value.numerator * factor, value.denominator * factor
  for text in (f'{top}/{bottom}', f'\\frac{{{top}}}{{{bottom}}}', f'\\dfrac{{{top}}}{{{bottom}}}'):
    assert number(text) == number(f'${text}$.') == value
  assert not same_number(f'{top}/{bottom}', f'{value + 1}')


@settings(deadline=None, derandomize=True)
@given(st.decimals(-(10**12), 10**12, places=3))
def test_every_spelling_of_a_decimal_is_the_same_number(value):
  for text in (f'{value:,}', f'{value:,}'.replace(',', '{,}'), f'{value:e}', f'{value}00'):
    assert number(text) == Fraction(value)
  assert number(f'{value}'.replace('-', '\u2212')) == Fraction(value)
  assert number(f'{value}%') == Fraction(value) / 100
