"""The full generator, against an evaluation of the translated text by Python's grammar."""

import ast
import operator
import re
from fractions import Fraction

import numpy as np
import pytest

from rljax import data
from rljax.data.random_calculation_latex import _ATOMS, PREFIX, decimal_text

PYTHON = {
  ast.Add: operator.add,
  ast.Sub: operator.sub,
  ast.Mult: operator.mul,
  ast.Div: operator.truediv,
  ast.Pow: operator.pow,
}


def value(latex):
  """Exact value of a LaTeX expression."""
  text = re.sub(r'\\frac\{(\d+)\}\{(\d+)\}', r'(\1/\2)', latex).replace('^', '**')

  def walk(node):
    if isinstance(node, ast.Constant):
      return Fraction(node.value)
    if isinstance(node, ast.UnaryOp):
      return -walk(node.operand)
    return PYTHON[type(node.op)](walk(node.left), walk(node.right))

  return walk(ast.parse(text, mode='eval').body)


def problem(text):
  return data.Problem(f'{text}=', decimal_text(value(text)), text.count('+'), 'unused')


def test_there_are_1088_atoms_with_the_right_values():
  assert len(_ATOMS) == 1088
  assert all(value(text) == number for text, number in _ATOMS.items())


@pytest.mark.parametrize(
  ('text', 'solution'),
  [
    ('\\frac{1}{2}+3^2', '\\frac{19}{2};\\boxed{9.5}'),
    ('7^2', '49;\\boxed{49}'),
    ('1-4+3', '(-3)+3=0;\\boxed{0}'),
    ('2*(3-5)', '2*(-2)=-4;\\boxed{-4}'),
    ('1+2*\\frac{3}{9}', '1+\\frac{2}{3}=\\frac{5}{3};\\boxed{1.66666666666667}'),
    ('1/(1-\\frac{3}{2})', '1/(-\\frac{1}{2})=-2;\\boxed{-2}'),
  ],
)
def test_worked_solutions(text, solution):
  task = data.random_calculation_latex()
  assert task.solve(problem(text)) == solution
  assert task.extract(solution) == problem(text).answer


def test_long_solutions_are_the_box_alone():
  task = data.random_calculation_latex((20,))
  solutions = [task.solve(p) for p in task.problems(np.random.default_rng(0), 50, 'train')]
  assert all(len(s) <= task.max_completion for s in solutions)
  assert any(re.fullmatch(r'\\boxed\{-?[0-9.]+\}', s) for s in solutions)


def test_the_wrong_procedure_goes_from_left_to_right_unless_it_divides_by_zero():
  task = data.random_calculation_latex(p_right=0.0)
  rng = np.random.default_rng(0)
  assert task.demonstrate(rng, problem('1+2*3')) == '3*3=9;\\boxed{9}'
  assert task.demonstrate(rng, problem('8/(1-1*3)')) == task.solve(problem('8/(1-1*3)'))


@pytest.mark.parametrize(
  ('number', 'text'),
  [
    (Fraction(0), '0'),
    (Fraction(10), '10'),
    (Fraction(-1, 4), '-0.25'),
    (Fraction(2, 3), '0.666666666666667'),
    (Fraction(10**20), '100000000000000000000'),
    (Fraction(1, 3 * 10**9), '0.000000000333333333333333'),
    (Fraction(123456789012345678), '123456789012346000'),
  ],
)
def test_answers_have_fifteen_significant_digits(number, text):
  assert decimal_text(number) == text


def test_the_box_is_read_from_the_end_and_put_in_canonical_spelling():
  task = data.random_calculation_latex()
  assert task.extract('\\boxed{1} \\boxed{5.00000000000000}') == '5'
  assert task.extract('\\boxed{x}') == 'x'
  for nothing in ('5', '\\boxed{5', '\\boxed{}', ''):
    assert task.extract(nothing) is None


def test_near_answers_earn_a_part_of_the_reward():
  task = data.random_calculation_latex()
  assert task.score(problem('1+1'), '\\boxed{2}') == 1.0
  assert 0.6 < task.score(problem('1+1'), '\\boxed{1.5}') < 0.7
  assert task.score(problem('1+1'), '\\boxed{-100}') == 0.0
  assert task.score(problem('1+1'), '2') == 0.0


def test_brackets_stand_only_around_operands_of_products_and_quotients():
  task = data.random_calculation_latex((4,))
  for p in task.problems(np.random.default_rng(0), 500, 'train'):
    text = re.sub(r'\\frac\{\d+\}\{\d+\}|\d+\^\d|\d+', '#', p.prompt[:-1])
    assert len(re.findall(r'[-+*/]', text)) == 4 == p.difficulty
    while '(' in text:
      # An innermost bracket next to * or / on at least one side, and nowhere else.
      found = re.search(r'(.?)\((#(?:[-+*/]#)+)\)(.?)', text)
      assert found.group(1) in ('*', '/') or found.group(3) in ('*', '/')
      text = text.replace(f'({found.group(2)})', '#', 1)


def test_every_kind_of_atom_and_operator_is_drawn():
  task = data.random_calculation_latex()
  texts = ' '.join(p.prompt for p in task.problems(np.random.default_rng(0), 200, 'train'))
  for piece in ('\\frac{', '^2', '^3', '+', '-', '*', '/', '('):
    assert piece in texts


def test_a_prefix_stands_before_every_expression_and_joins_the_alphabet():
  task = data.random_calculation_latex(prefix=PREFIX)
  p = task.problems(np.random.default_rng(0), 1, 'train')[0]
  assert p.prompt.startswith(PREFIX)
  assert set(p.prompt) <= set(task.alphabet)
  assert task.score(p, task.solve(p)) == 1.0


def test_ten_thousand_answers_and_solutions_by_an_independent_evaluator():
  task = data.random_calculation_latex((1, 3, 5))
  heldout = {p.key for p in data.heldout(task, 300)}
  for p in task.problems(np.random.default_rng(3), 10_000, 'train'):
    exact = value(p.prompt[:-1])
    assert abs(Fraction(p.answer) - exact) < Fraction(1, 1000)
    assert float(p.answer) == pytest.approx(float(exact), rel=1e-14)
    steps, _, box = task.solve(p).rpartition(';')
    assert box == f'\\boxed{{{p.answer}}}'
    assert all(value(step) == exact for step in steps.split('=') if steps)
    assert p.key not in heldout
