"""Column addition: the format, the forgotten carry, slips."""

import re

import numpy as np
import pytest

from rljax import data
from rljax.data.slips import slipped


def problem(prompt):
  a, b = prompt[:-1].split('+')
  return data.Problem(prompt, str(int(a) + int(b)), max(len(a), len(b)), 'unused')


RIGHT = {
  '855+399=': '(5+9=14,5+9+1=15,8+3+1=12)1254',
  '12+34=': '(2+4=6,1+3=4)46',
  '99+5=': '(9+5=14,9+0+1=10)104',
  '7+123=': '(7+3=10,0+2+1=3,0+1=1)130',
  '0+0=': '(0+0=0)0',
  '100+900=': '(0+0=0,0+0=0,1+9=10)1000',
}
WRONG = {
  '855+399=': '(5+9=14,5+9=14,8+3=11)1144',
  '12+34=': '(2+4=6,1+3=4)46',
  '99+5=': '(9+5=14,9+0=9)94',
  '7+123=': '(7+3=10,0+2=2,0+1=1)120',
}


@pytest.mark.parametrize('prompt', RIGHT)
def test_the_right_procedure(prompt):
  always = data.column_addition(1, 3, p_right=1.0, p_slip=0.0)
  assert always.solve(problem(prompt)) == RIGHT[prompt]
  assert always.demonstrate(np.random.default_rng(0), problem(prompt)) == RIGHT[prompt]


@pytest.mark.parametrize('prompt', WRONG)
def test_the_wrong_procedure_drops_every_carry(prompt):
  never = data.column_addition(1, 3, p_right=0.0, p_slip=0.0)
  assert never.demonstrate(np.random.default_rng(0), problem(prompt)) == WRONG[prompt]


def test_the_scratchpad_can_be_written_twice():
  task = data.column_addition(p_right=1.0, p_slip=0.0, p_repeat=1.0)
  text = task.demonstrate(np.random.default_rng(0), problem('85+39='))
  assert text == '(5+9=14,8+3+1=12;5+9=14,8+3+1=12)124'
  assert task.extract(text) == '124'
  assert task.solve(problem('85+39=')) == '(5+9=14,8+3+1=12)124'


def test_the_scratchpad_can_be_written_often_or_not_at_all():
  often = data.column_addition(p_right=1.0, p_slip=0.0, p_repeat=1.0, repeats=3)
  text = often.demonstrate(np.random.default_rng(0), problem('85+39='))
  assert text == f'({";".join(["5+9=14,8+3+1=12"] * 4)})124'
  longest = often.demonstrate(np.random.default_rng(0), problem('999+999='))
  assert len(longest) == often.longest_demonstration == often.max_completion + 3 * 25
  bare = data.column_addition(p_right=1.0, p_slip=0.0, p_repeat=1.0, p_bare=0.25)
  rng = np.random.default_rng(0)
  texts = [bare.demonstrate(rng, problem('85+39=')) for _ in range(2000)]
  assert {t for t in texts if '(' not in t} == {'124'}
  assert abs(np.mean([t == '124' for t in texts]) - 0.25) < 0.03
  assert bare.extract('124') == '124'


def test_the_longest_solution_has_the_stated_length():
  task = data.column_addition(3, 3)
  assert len(task.solve(problem('999+999='))) == task.max_completion == 30
  assert len('999+999=') == task.max_prompt


def columns_hold(text):
  """Which columns' equations are true."""
  scratchpad = re.fullmatch(r'\((.*)\)\d+', text).group(1)
  return [
    sum(map(int, left.split('+'))) == int(total)
    for left, total in (column.split('=') for column in scratchpad.split(','))
  ]


def test_a_slip_is_one_wrong_column_and_the_answer_follows_from_it():
  task = data.column_addition(1, 4, p_right=1.0, p_slip=1.0)
  rng = np.random.default_rng(0)
  for p in task.problems(rng, 500, 'train'):
    text = task.demonstrate(rng, p)
    assert sum(not held for held in columns_hold(text)) == 1
    # With carries as written, the answer is what the written columns add up to.
    totals = [int(column.split('=')[1]) for column in text[1 : text.index(')')].split(',')]
    answer = sum(t % 10 * 10**i for i, t in enumerate(totals)) + totals[-1] // 10 * 10 ** len(
      totals
    )
    assert task.extract(text) == str(answer) != p.answer


def test_a_slip_changes_one_digit():
  rng = np.random.default_rng(0)
  for number in (0, 7, 14, 90):
    drawn = {slipped(number, rng) for _ in range(500)}
    size = len(str(number))
    expected = {
      int(str(number)[:i] + digit + str(number)[i + 1 :])
      for i in range(size)
      for digit in '0123456789'
    } - {number}
    assert drawn == expected


def test_the_mixture_has_the_stated_shares():
  task = data.column_addition(3, 3, p_right=0.42, p_slip=0.1)
  rng = np.random.default_rng(1)
  carrying = [
    p for p in task.problems(rng, 6000, 'train') if re.search(r'\d\+\d\+1=', task.solve(p))
  ]
  texts = [task.demonstrate(rng, p) for p in carrying]
  slips = np.array([not all(columns_hold(text)) for text in texts])
  right = np.array([text == task.solve(p) for text, p in zip(texts, carrying, strict=True)])
  # Dropping the carry leaves every equation true, so slips and right solutions can be told apart.
  assert abs(slips.mean() - 0.1) < 0.02
  assert abs(right.mean() - 0.42 * 0.9) < 0.03


def test_operand_lengths_are_independent_and_uniform():
  rng = np.random.default_rng(2)
  task = data.column_addition(1, 3)
  pairs = [tuple(map(len, p.prompt[:-1].split('+'))) for p in task.problems(rng, 9000, 'train')]
  shares = {pair: pairs.count(pair) / 9000 for pair in set(pairs)}
  # One-digit pairs have 55 keys, so what is held out among them is not a sixteenth exactly.
  assert len(shares) == 9
  assert all(abs(share - 1 / 9) < 0.02 for share in shares.values())


def test_an_answer_is_the_text_after_the_last_bracket():
  task = data.column_addition()
  assert task.extract('(1+2=3)3') == '3'
  assert task.extract('124') == '124'
  assert task.extract('(1+2=3)') is None
  assert task.extract('') is None
  assert task.score(problem('85+39='), '124') == 1.0
  assert task.score(problem('85+39='), '(5+9=14)0124') == 0.0


def test_ten_thousand_problems_are_right_and_never_held_out():
  task = data.column_addition(1, 6)
  rng = np.random.default_rng(3)
  heldout = {p.key for p in data.heldout(task, 500)}
  for p in task.problems(rng, 10_000, 'train'):
    a, b = map(int, p.prompt[:-1].split('+'))
    assert p.answer == str(a + b) == task.extract(task.solve(p))
    assert all(columns_hold(task.solve(p)))
    assert p.key == f'{min(a, b)}+{max(a, b)}'
    assert p.key not in heldout
