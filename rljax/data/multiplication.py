"""Multiplication of two numbers by partial products, with place value as the decisive step.

`37*24=` is continued by `(37*4=148,37*20=740,148+740=888)888`: each digit of the second number from
the right, with the zeros of its place, times the first number, then the products added up one after
the other. The answer is what follows the bracket.
"""

from __future__ import annotations

import numpy as np

from rljax.data.operands import after_bracket, check_digits, draw_operands
from rljax.data.slips import slipped
from rljax.data.task import Problem, Task, check_fractions, draw_split
from rljax.data.tokenizer import ARITHMETIC
from rljax.verifiers.exact import exact


def multiplication(
  min_digits: int = 1, max_digits: int = 2, p_right: float = 0.42, p_slip: float = 0.03
) -> Task:
  """Long multiplication whose demonstrations mostly forget the place of a digit.

  The warm start imitates two procedures. The wrong one is consistent: every digit counts as if it
  were the last, `37*24=` -> `(37*4=148,37*2=74,148+74=222)222`. A slip replaces one digit of one
  result by another one, and what follows is worked out from what was written.

  Both numbers have between `min_digits` and `max_digits` digits, uniformly and independently, and
  are uniform among the numbers of that many digits. Difficulty is the number of partial products.
  `a*b` and `b*a` share a key.

  Args:
    min_digits: at least 1; numbers of one digit include 0.
    max_digits: at most 9.
    p_right: share of demonstrations that mind the place.
    p_slip: share of demonstrations with a slip, whichever the procedure.
  Raises:
    ValueError: the digits are no range within 1..9, or a share is outside [0, 1].
  """
  check_digits(min_digits, max_digits, 9)
  check_fractions(p_right=p_right, p_slip=p_slip)
  most = 10**max_digits - 1
  longest = len(_work(f'{most}*{most}=', place=True))

  def draw(rng, n):
    return [_problem(a, b) for a, b in draw_operands(rng, n, min_digits, max_digits)]

  def demonstrate(rng, problem):
    place, slip = rng.random(2) < (p_right, p_slip)
    if slip:
      completion = _work(problem.prompt, place=place, rng=rng)
      # A larger number after a slip can outgrow the bound; such a slip does not happen.
      if len(completion) <= longest:
        return completion
    return _work(problem.prompt, place=place)

  return Task(
    name='multiplication',
    alphabet=ARITHMETIC,
    problems=lambda rng, n, split: draw_split(draw, rng, n, split),
    demonstrate=demonstrate,
    solve=lambda problem: _work(problem.prompt, place=True),
    extract=after_bracket,
    score=lambda problem, completion: exact(after_bracket(completion), problem.answer),
    max_prompt=2 * max_digits + 2,
    max_completion=longest,
  )


def _problem(a: int, b: int) -> Problem:
  low, high = (a, b) if a < b else (b, a)
  return Problem(prompt=f'{a}*{b}=', answer=str(a * b), difficulty=len(str(b)), key=f'{low}*{high}')


def _work(prompt: str, *, place: bool, rng: np.random.Generator | None = None) -> str:
  """The worked multiplication of `prompt`; with `rng`, one digit of one result is wrong."""
  a, b = prompt[:-1].split('*')
  slip = -1 if rng is None else int(rng.integers(2 * len(b) - 1))
  steps: list[str] = []

  def write(text, result):
    result = slipped(result, rng) if len(steps) == slip and rng is not None else result
    steps.append(f'{text}={result}')
    return result

  products = []
  for i, digit in enumerate(reversed(b)):
    factor = digit + '0' * i if place and digit != '0' else digit
    products.append(write(f'{a}*{factor}', int(a) * int(factor)))
  total = products[0]
  for product in products[1:]:
    total = write(f'{total}+{product}', total + product)
  return f'({",".join(steps)}){total}'
