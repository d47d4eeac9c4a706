"""Random expressions of digits, against evaluators written in another way."""

import ast
import itertools
import operator
import random
import re
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from rljax import data
from rljax.data.random_calculation import _patterns

PYTHON = {
  ast.Add: operator.add,
  ast.Sub: operator.sub,
  ast.Mult: operator.mul,
  ast.Div: operator.truediv,
  ast.Pow: operator.pow,
}


def value(text):
  """Value of an expression by Python's grammar, in exact fractions."""

  def walk(node):
    if isinstance(node, ast.Constant):
      return Fraction(node.value)
    if isinstance(node, ast.UnaryOp):
      return -walk(node.operand)
    return PYTHON[type(node.op)](walk(node.left), walk(node.right))

  return walk(ast.parse(text, mode='eval').body)


def rewrite(text, ordered):
  """The steps of a reduction by rewriting the text itself."""
  steps = []
  while not re.fullmatch(r'-?\d+', text):
    inner = re.search(r'\(([^()]*)\)', text)
    part = inner.group(1) if inner else text
    product = re.search(r'\d+\*\d+', part) if ordered else None
    found = product or re.search(r'\d+[-+*]\d+', part)
    done = part[: found.start()] + str(value(found.group())) + part[found.end() :]
    if inner:
      kept = done if re.fullmatch(r'\d+', done) else f'({done})'
      text = text[: inner.start()] + kept + text[inner.end() :]
    else:
      text = done
    steps.append(text)
    if '-' in text and re.search(r'(^|[-+*(])-', text):
      return None  # a negative number on the way
  return steps


def problem(prompt, level):
  return data.Problem(prompt, str(value(prompt[:-1])), level, 'unused')


RIGHT = {
  '6*7=': '42',
  '6+7*9=': '6+63=69',
  '2*(3+4)-5=': '2*7-5=14-5=9',
  '9-4-3=': '5-3=2',
  '(1+2)*(3+4)=': '3*(3+4)=3*7=21',
  '5*(2*(1+3))=': '5*(2*4)=5*8=40',
}


@pytest.mark.parametrize('prompt', RIGHT)
def test_the_right_procedure(prompt):
  task = data.random_calculation()
  assert task.solve(problem(prompt, 3)) == RIGHT[prompt]
  assert task.extract(RIGHT[prompt]) == str(value(prompt[:-1]))


@pytest.mark.parametrize(
  ('prompt', 'wrong'),
  [('2+3*4=', '5*4=20'), ('2+(1+3*2)*3=', '2+(4*2)*3=2+8*3=10*3=30'), ('6*7=', '42')],
)
def test_the_wrong_procedure_goes_from_left_to_right(prompt, wrong):
  task = data.random_calculation(p_right=0.0, p_slip=0.0)
  assert task.demonstrate(np.random.default_rng(0), problem(prompt, 3)) == wrong


def test_patterns_and_their_probabilities_follow_the_generator():
  assert _patterns(1, '+-*') == pytest.approx({'#+#': 1 / 3, '#-#': 1 / 3, '#*#': 1 / 3})
  two = _patterns(2, '+*')
  assert two == pytest.approx(
    {
      '#+#+#': 1 / 4,
      '#+#*#': 1 / 8,
      '#*#+#': 1 / 8,
      '#*(#+#)': 1 / 8,
      '(#+#)*#': 1 / 8,
      '#*(#*#)': 1 / 8,
      '(#*#)*#': 1 / 8,
    }
  )
  for level in (3, 4, 5):
    assert sum(_patterns(level, '+-*').values()) == pytest.approx(1.0)
    assert all(p.count('#') == level + 1 for p in _patterns(level, '+-*'))


def test_the_draw_is_that_of_plain_rejection():
  """Shares of the patterns against a sampler that draws trees and rejects texts."""
  rng = random.Random(0)

  def draw(level):
    if level == 0:
      return str(rng.randint(1, 9)), 0
    j = rng.randrange((level + 1) // 2)
    pair = [draw(j), draw(level - 1 - j)]
    if rng.random() < 0.5:
      pair.reverse()
    sign = rng.choice('+-*')
    texts = [f'({t})' if sign == '*' and n else t for t, n in pair]
    return texts[0] + sign + texts[1], level

  def accepted(level, reject):
    while True:
      text, _ = draw(level)
      runs = [rewrite(text, True), rewrite(text, False)]
      if (
        None in runs or max(int(n) for run in runs for s in run for n in re.findall(r'\d+', s)) > 99
      ):
        continue
      if runs[0][-1] != runs[1][-1] or rng.random() >= reject:
        return re.sub(r'\d', '#', text)

  # One level at a time: among the valid problems of a level, rejection is relative.
  for level in (2, 3):
    n = 3000
    expected = Counter(accepted(level, 0.7) for _ in range(n))
    task = data.random_calculation((level,), p_reject_insensitive=0.7)
    drawn = task.problems(np.random.default_rng(0), n, 'train')
    seen = Counter(re.sub(r'\d', '#', p.prompt[:-1]) for p in drawn)
    for pattern in expected | seen:
      a, b = expected[pattern] / n, seen[pattern] / n
      assert abs(a - b) < 0.02 + 0.2 * a, pattern


def test_levels_are_equally_likely_before_insensitive_problems_are_rejected():
  task = data.random_calculation(p_reject_insensitive=0.0)
  levels = Counter(p.difficulty for p in task.problems(np.random.default_rng(0), 6000, 'train'))
  # What is held out at level 1 (135 keys) is not a sixteenth exactly.
  assert all(abs(levels[i] / 6000 - 1 / 3) < 0.03 for i in (1, 2, 3))


@pytest.mark.parametrize('split', ['train', 'heldout'])
def test_with_full_rejection_every_problem_tells_the_procedures_apart(split):
  task = data.random_calculation(p_reject_insensitive=1.0)
  for p in task.problems(np.random.default_rng(0), 300, split):
    assert rewrite(p.prompt[:-1], True)[-1] != rewrite(p.prompt[:-1], False)[-1]


def test_a_slip_is_one_false_equation_and_the_answer_follows():
  task = data.random_calculation((2, 3), p_right=1.0, p_slip=1.0)
  rng = np.random.default_rng(0)
  false = []
  for p in task.problems(rng, 400, 'train'):
    steps = [value(s) for s in (p.prompt + task.demonstrate(rng, p)).split('=')]
    false.append(sum(a != b for a, b in itertools.pairwise(steps)))
  # None where the slip would have outgrown the longest right solution.
  assert set(false) <= {0, 1}
  assert np.mean(false) > 0.9


def test_the_mixture_has_the_stated_shares():
  task = data.random_calculation(p_right=0.3, p_slip=0.0, p_reject_insensitive=1.0)
  rng = np.random.default_rng(1)
  problems = task.problems(rng, 4000, 'train')
  right = [task.extract(task.demonstrate(rng, p)) == p.answer for p in problems]
  assert abs(np.mean(right) - 0.3) < 0.03


def test_default_texts_are_short():
  task = data.random_calculation()
  assert task.max_prompt <= 12
  assert task.max_completion <= 30


def test_problems_of_the_same_characters_are_on_the_same_side():
  keys = {}
  for p in data.random_calculation((2,)).problems(np.random.default_rng(0), 3000, 'train'):
    keys.setdefault(''.join(sorted(p.prompt[:-1])), set()).add(p.key)
  assert all(len(found) == 1 for found in keys.values())
  assert len({next(iter(found)) for found in keys.values()}) == len(keys)


def test_ten_thousand_answers_solutions_and_ranges_by_an_independent_evaluator():
  task = data.random_calculation((1, 2, 3, 4))
  heldout = {p.key for p in data.heldout(task, 300)}
  for p in task.problems(np.random.default_rng(3), 10_000, 'train'):
    text = p.prompt[:-1]
    assert str(value(text)) == p.answer
    assert p.difficulty == len(re.findall(r'[-+*]', text))
    right, wrong = rewrite(text, True), rewrite(text, False)
    assert task.solve(p) == '='.join(right)
    assert len({value(step) for step in right}) == 1
    assert all(int(i) <= 99 for step in right + wrong for i in re.findall(r'\d+', step))
    assert p.key not in heldout
