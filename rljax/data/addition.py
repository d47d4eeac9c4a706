"""Addition of two numbers, column by column from the right, with the carry as the decisive step.

`855+399=` is continued by `(5+9=14,5+9+1=15,8+3+1=12)1254`: a column is digit + digit, then `+` the
carry if there is one, `=` and the column's sum. A digit that the shorter number lacks is written 0.
The answer is the last column's sum in full, followed by the last digits of the other columns.
"""

from __future__ import annotations

import numpy as np

from rljax.data.operands import after_bracket, check_digits, draw_operands
from rljax.data.slips import slipped
from rljax.data.task import Problem, Task, check_fractions, draw_split
from rljax.data.tokenizer import ARITHMETIC
from rljax.verifiers.exact import exact


def column_addition(
  min_digits: int = 2,
  max_digits: int = 3,
  p_right: float = 0.42,
  p_slip: float = 0.03,
  p_repeat: float = 0.0,
  repeats: int = 1,
  p_bare: float = 0.0,
) -> Task:
  """Column addition whose demonstrations mostly forget the carry.

  The wrong procedure is consistent: columns are added as if there were no carry, and the answer is
  read off by the same rule, `855+399=` -> `(5+9=14,5+9=14,8+3=11)1144`. A slip replaces one digit
  of one column's sum by another one; what follows is worked out from what was written (the next
  carry is the written tens digit).

  Both numbers have between `min_digits` and `max_digits` digits, uniformly and independently, and
  are uniform among the numbers of that many digits. Difficulty is the number of columns. `a+b` and
  `b+a` share a key.

  Args:
    min_digits: at least 1; numbers of one digit include 0.
    max_digits: at most 18.
    p_right: share of demonstrations that carry.
    p_slip: share of demonstrations with a slip, whichever the procedure.
    p_repeat: share of demonstrations whose scratchpad is written more than once, with `;` between:
      the same answer at greater length.
    repeats: how many more times.
    p_bare: share of demonstrations that write the answer alone.
  Raises:
    ValueError: the digits are no range within 1..18, `repeats` is not positive, or a share is
      outside [0, 1].
  """
  check_digits(min_digits, max_digits, 18)
  if repeats < 1:
    raise ValueError(f'repeats must be at least 1, not {repeats}; p_repeat=0 repeats nothing.')
  check_fractions(p_right=p_right, p_slip=p_slip, p_repeat=p_repeat, p_bare=p_bare)
  passes = 1 + repeats if p_repeat > 0 else 1

  def draw(rng, n):
    return [_problem(a, b) for a, b in draw_operands(rng, n, min_digits, max_digits)]

  def demonstrate(rng, problem):
    carry, slip, repeat = rng.random(3) < (p_right, p_slip, p_repeat)
    bare = p_bare > 0 and rng.random() < p_bare
    written = 0 if bare else passes if repeat else 1
    return _work(problem.prompt, carry=carry, passes=written, rng=rng if slip else None)

  return Task(
    name='column_addition',
    alphabet=ARITHMETIC,
    problems=lambda rng, n, split: draw_split(draw, rng, n, split),
    demonstrate=demonstrate,
    solve=lambda problem: _work(problem.prompt, carry=True),
    extract=after_bracket,
    score=lambda problem, completion: exact(after_bracket(completion), problem.answer),
    max_prompt=2 * max_digits + 2,
    max_completion=_longest(max_digits, 1),
    max_demonstration=_longest(max_digits, passes),
  )


def _longest(digits: int, passes: int) -> int:
  # '9+9=18', then '9+9+1=19' for each further column, and a delimiter around and between them.
  return passes * (9 * digits - 2) + 1 + digits + 1


def _problem(a: int, b: int) -> Problem:
  low, high = (a, b) if a < b else (b, a)
  return Problem(
    prompt=f'{a}+{b}=', answer=str(a + b), difficulty=len(str(high)), key=f'{low}+{high}'
  )


def _work(prompt: str, *, carry: bool, passes: int = 1, rng: np.random.Generator | None = None):
  """The worked column addition of `prompt`; with `rng`, one digit of one column's sum is wrong."""
  a, b = prompt[:-1].split('+')
  size = max(len(a), len(b))
  slip = -1 if rng is None else int(rng.integers(size))
  columns, ends, over = [], [], 0
  for i, (x, y) in enumerate(zip(a.zfill(size)[::-1], b.zfill(size)[::-1], strict=True)):
    total = int(x) + int(y) + over
    if i == slip and rng is not None:
      total = slipped(total, rng)
    columns.append(f'{x}+{y}+{over}={total}' if over else f'{x}+{y}={total}')
    over, end = divmod(total, 10) if carry else (0, total % 10)
    ends.append(str(end))
  ends[-1] = str(total)
  answer = ''.join(reversed(ends))
  # A slip in the leading column may leave a zero in front.
  answer = answer.lstrip('0') or '0'
  return (f'({";".join([",".join(columns)] * passes)})' if passes else '') + answer
