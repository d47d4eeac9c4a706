"""RandomCalculation with its full generator: LaTeX atoms, four operators, exact fractions.

`\\frac{1}{2}+3^2=` is continued by one operation a step and the value as a decimal number,
`\\frac{19}{2};\\boxed{9.5}`. The box holds 15 significant digits, so it is apart from the
equations, which are exact.

Source: arXiv 2507.10532, section 4; the generator follows the authors' generate_datasets.py.
"""

from __future__ import annotations

import decimal
import operator
import re
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from rljax.data.expressions import LEFT_TO_RIGHT, PRECEDENCE, evaluate, grow, reductions
from rljax.data.task import Problem, Task, check_fractions, check_levels, draw_split
from rljax.verifiers.numeric import canonical, closeness

LATEX = '0123456789+-*/=();.\\{}^abcdeforx'
PREFIX = 'Work out this LaTeX expression step by step and put the final value in \\boxed{}: '

_MAX_LEVEL = 20
_APPLY = {'+': operator.add, '-': operator.sub, '*': operator.mul, '/': operator.truediv}
_ATOMS = {
  **{f'{i}': Fraction(i) for i in range(100)},
  **{f'\\frac{{{i}}}{{{d}}}': Fraction(i, d) for d in range(2, 10) for i in range(1, 100)},
  **{f'{i}^{k}': Fraction(i**k) for k in (2, 3) for i in range(2, 100)},
}
_ATOM_TEXTS = list(_ATOMS)
_TOKEN = re.compile(r'\\frac\{\d+\}\{\d+\}|\d+\^\d|\d+|[-+*/()]')
_OPEN = '\\boxed{'
# '\boxed{}' and the longest answer: 21 factors of at least 99**-3 each need about 140 digits.
_MIN_SOLUTION = 160


def random_calculation_latex(
  levels: Sequence[int] = (5,),
  p_right: float = 1.0,
  max_solution: int = 400,
  prefix: str = '',
) -> Task:
  """Expressions of 1088 atoms (integers, fractions, squares, cubes) with `+ - * /`.

  An expression of level i joins two of levels j and i - 1 - j (see `expressions.grow`) with j
  uniform below i / 2, operator, order and atoms uniform. The source draws the parts from pools of
  1200 i / 2; here every part is drawn anew. An expression with an undefined value, or whose value
  is not within 0.001 of its 15 significant digits, is dropped. The answer has no trailing zeros.
  Difficulty is the level. Problems that are made of the same atoms, operators and brackets share a
  key. The score is `closeness`, which is 1 for the right answer only.

  Worked solutions are our own, the source has none. `solve` gives the exact reduction followed by
  the box, and only the box where that is longer than `max_solution`. A wrong demonstration works
  from left to right, brackets first; where this divides by zero, it is the right one.

  Args:
    levels: numbers of operators, each in 0..20.
    p_right: share of demonstrations by the right procedure.
    max_solution: largest number of characters of a worked solution, at least 160.
    prefix: text in front of every expression, such as `PREFIX`; its characters join the alphabet.
  Raises:
    ValueError: bad levels, share or length.
  """
  levels = check_levels(levels, 0, _MAX_LEVEL)
  if max_solution < _MIN_SOLUTION:
    raise ValueError(f'max_solution must be at least {_MIN_SOLUTION}, not {max_solution}.')
  check_fractions(p_right=p_right)

  def draw(rng, n):
    return [_draw_problem(rng, int(level), prefix) for level in rng.choice(levels, n)]

  def solve(problem):
    return _work(problem.prompt[len(prefix) : -1], PRECEDENCE, max_solution)

  def demonstrate(rng, problem):
    if rng.random() >= p_right:
      try:
        return _work(problem.prompt[len(prefix) : -1], LEFT_TO_RIGHT, max_solution)
      except ZeroDivisionError:
        pass
    return solve(problem)

  top = max(levels)
  return Task(
    name='random_calculation_latex',
    alphabet=LATEX + ''.join(sorted(set(prefix) - set(LATEX))),
    problems=lambda rng, n, split: draw_split(draw, rng, n, split),
    demonstrate=demonstrate,
    solve=solve,
    extract=_extract,
    score=lambda problem, completion: closeness(_extract(completion), problem.answer),
    # Atoms, operators, a pair of brackets for every operation but the last, and '='.
    max_prompt=len(prefix) + 12 * (top + 1) + top + 2 * max(top - 1, 0) + 1,
    max_completion=max_solution,
  )


def _draw_problem(rng: np.random.Generator, level: int, prefix: str) -> Problem:
  while True:
    tokens = _draw_tokens(rng, level)
    try:
      value = _value(tokens)
    except ZeroDivisionError:
      continue
    answer = decimal_text(value)
    if abs(Fraction(answer) - value) < Fraction(1, 1000):
      return Problem(
        prompt=f'{prefix}{"".join(tokens)}=',
        answer=answer,
        difficulty=level,
        key=' '.join(sorted(tokens)),
      )


def _draw_tokens(rng: np.random.Generator, level: int) -> list[str]:
  if level == 0:
    return [_ATOM_TEXTS[rng.integers(len(_ATOM_TEXTS))]]
  below = int(rng.integers((level + 1) // 2))
  left, right = _draw_tokens(rng, below), _draw_tokens(rng, level - 1 - below)
  if rng.random() < 0.5:
    left, right = right, left
  return grow(left, '+-*/'[rng.integers(4)], right)


def decimal_text(value: Fraction) -> str:
  """`value` rounded to 15 significant digits, in plain decimal notation without trailing zeros."""
  with decimal.localcontext(decimal.Context(prec=15)):
    rounded = decimal.Decimal(value.numerator) / decimal.Decimal(value.denominator)
  text = canonical(format(rounded, 'f'))
  if text is None:
    raise ValueError(f'{rounded} has too many digits to be an answer.')
  return text


def _value(tokens: list[str]) -> Fraction:
  return evaluate([_ATOMS.get(token, token) for token in tokens], PRECEDENCE, _apply)


def _work(text: str, tight: str, max_solution: int) -> str:
  values = [_ATOMS.get(token, token) for token in _TOKEN.findall(text)]
  steps = [values] if len(values) == 1 else list(reductions(values, tight, _apply))
  box = f'{_OPEN}{decimal_text(steps[-1][0])}}}'
  solution = f'{"=".join(map(_render, steps))};{box}'
  return solution if len(solution) <= max_solution else box


def _apply(a: Fraction, sign: str, b: Fraction) -> Fraction:
  return _APPLY[sign](a, b)


def _render(tokens: list) -> str:
  """Fractions as LaTeX; a negative number within an expression is put in brackets."""
  return ''.join(
    token
    if isinstance(token, str)
    else f'({_latex(token)})'
    if token < 0 and len(tokens) > 1
    else _latex(token)
    for token in tokens
  )


def _latex(value: Fraction) -> str:
  if value.denominator == 1:
    return str(value.numerator)
  sign = '-' if value < 0 else ''
  return f'{sign}\\frac{{{abs(value.numerator)}}}{{{value.denominator}}}'


def _extract(completion: str) -> str | None:
  """What the last box holds, up to the first closing brace; a number in canonical spelling."""
  _, found, rest = completion.rpartition(_OPEN)
  content, closed, _ = rest.partition('}')
  if not found or not closed or not content:
    return None
  return canonical(content) or content
