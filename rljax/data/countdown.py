"""Countdown: reach a target from some numbers, each of which is used once.

`3,8,25;51=` is continued by `25-8=17,17*3=51;(25-8)*3`: the operations one by one, a semicolon, and
the expression that reaches the target. The answer is the expression.
"""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

from rljax.data.expressions import PRECEDENCE, reductions
from rljax.data.task import Problem, Task, check_fractions, draw_split
from rljax.data.tokenizer import ARITHMETIC
from rljax.verifiers.expressions import worth

_RANK = {'+': 1, '-': 1, '*': 2, '/': 2}
_IDLE = 10_000


def countdown(
  min_numbers: int = 3,
  max_numbers: int = 4,
  max_number: int = 20,
  max_target: int = 99,
  max_value: int = 999,
  spare: int = 0,
  p_right: float = 0.4,
  p_slip: float = 0.03,
) -> Task:
  """Countdown whose demonstrations mostly take the numbers greedily as they come.

  Every problem has a solution: numbers are drawn, then joined at random, two values at a time, by
  one of `+ - * /` whose result is a whole number from 1 to `max_value`, and the target is what
  comes out. Any expression that uses the numbers as asked and is worth the target is right, by
  exact arithmetic.

  The warm start imitates two procedures. The right one shows the expression that made the problem;
  how it was found is not told. The wrong one is consistent: it goes through the numbers in order
  and joins each to the value so far so as to be next to the target, which sometimes hits it. A slip
  exchanges one operator of the expression, and what follows is worked out with that.

  Difficulty is how many numbers there are. Problems with the same numbers, in any order, and the
  same target share a key.

  Args:
    min_numbers: at least 2.
    max_numbers: at most 6; how many numbers is uniform between the two.
    max_number: the numbers are uniform from 1 to this.
    max_target: the largest target; drawn values above it are drawn again.
    max_value: the largest value on the way of a demonstration.
    spare: how many of the numbers may be left unused; 0 is the usual rule that all are used, and
      `max_numbers` that any may be left out.
    p_right: share of right demonstrations.
    p_slip: share of demonstrations with a slip, whichever the procedure.
  Raises:
    ValueError: sizes that contradict each other, or a share outside [0, 1].
  """
  if not 2 <= min_numbers <= max_numbers <= 6:
    raise ValueError(
      'Numbers must satisfy 2 <= min_numbers <= max_numbers <= 6; got '
      f'{min_numbers}, {max_numbers}.'
    )
  if not (1 <= max_target <= max_value and 1 <= max_number <= max_value):
    raise ValueError(
      f'max_target ({max_target}) and max_number ({max_number}) must be from 1 to max_value '
      f'({max_value}).'
    )
  if spare < 0:
    raise ValueError(f'spare is {spare}; it must be at least 0.')
  check_fractions(p_right=p_right, p_slip=p_slip)
  long, wide = len(str(max_number)), len(str(max_value))
  steps = max_numbers - 1
  # Every value as long as it can be, and a pair of brackets around all operations but the last.
  longest = steps * (3 * wide + 2) + steps + max_numbers * long + steps + 2 * (steps - 1)

  def draw(rng, n):
    return [
      _draw(rng, min_numbers, max_numbers, max_number, max_target, max_value, spare)
      for _ in range(n)
    ]

  def demonstrate(rng, problem):
    right, slip = rng.random(2) < (p_right, p_slip)
    numbers, target = _parts(problem)
    text = problem.answer if right else _text(_greedy(numbers, target, max_value))
    return _work(_slip(text, rng, max_value) if slip else text)

  def is_right(problem, completion):
    numbers, target = _parts(problem)
    found = worth(_extract(completion))
    if found is None or found.value != target:
      return False
    unused = len(numbers) - len(found.numbers)
    return unused <= spare and not Counter(found.numbers) - Counter(numbers)

  return Task(
    name='countdown',
    alphabet=ARITHMETIC,
    problems=lambda rng, n, split: draw_split(draw, rng, n, split),
    demonstrate=demonstrate,
    solve=lambda problem: _work(problem.answer),
    extract=_extract,
    score=lambda problem, completion: float(is_right(problem, completion)),
    max_prompt=max_numbers * (long + 1) + len(str(max_target)) + 1,
    max_completion=longest,
    right=is_right,
  )


def _draw(rng, min_numbers, max_numbers, max_number, max_target, max_value, spare):
  for _ in range(_IDLE):
    count = int(rng.integers(min_numbers, max_numbers + 1))
    numbers = rng.integers(1, max_number + 1, count).tolist()
    used = count - int(rng.integers(0, min(spare, count - 2) + 1))
    value, tree = _join(rng, [(n, n) for n in rng.permutation(numbers).tolist()[:used]], max_value)
    if value is not None and value <= max_target:
      prompt = f'{",".join(map(str, numbers))};{value}='
      key = f'{",".join(map(str, sorted(numbers)))};{value}'
      return Problem(prompt=prompt, answer=_text(tree), difficulty=count, key=key)
  raise ValueError(
    f'{_IDLE} draws of numbers up to {max_number} had no target up to {max_target} within '
    f'{max_value}; raise max_target or max_value.'
  )


def _join(rng, pool, max_value):
  """Value and tree of all of the pool, joined two at a time at random; None beyond the range."""
  while len(pool) > 1:
    i, j = rng.permutation(len(pool))[:2].tolist()
    (a, left), (b, right) = pool[i], pool[j]
    sign = '+-*/'[int(rng.integers(4))]
    value = _apply(a, sign, b, max_value)
    if value is None:
      return None, None
    pool = [x for k, x in enumerate(pool) if k not in (i, j)] + [(value, (sign, left, right))]
  return pool[0]


def _apply(a: int, sign: str, b: int, max_value: int) -> int | None:
  """The whole result in 1..max_value; None where there is none."""
  if sign == '/':
    value = a // b if a % b == 0 else 0
  else:
    value = {'+': a + b, '-': a - b, '*': a * b}[sign]
  return value if 1 <= value <= max_value else None


def _greedy(numbers, target, max_value):
  """The tree of joining each number to the value so far so as to be next to the target."""
  value, tree = numbers[0], numbers[0]
  for n in numbers[1:]:
    ways = [(value, tree, sign, n, n) for sign in '+-*/'] + [(n, n, '-', value, tree)]
    found = [
      (result, (sign, left, right))
      for a, left, sign, b, right in ways
      if (result := _apply(a, sign, b, max_value)) is not None
    ]
    value, tree = min(found, key=lambda pair: abs(pair[0] - target))
  return tree


def _text(tree) -> str:
  """A tree as an expression, with the brackets that it needs."""
  if not isinstance(tree, tuple):
    return str(tree)
  sign, left, right = tree
  first, second = _text(left), _text(right)
  if isinstance(left, tuple) and _RANK[left[0]] < _RANK[sign]:
    first = f'({first})'
  # Only sums of sums and products of products stay in range in another order.
  if isinstance(right, tuple) and (
    _RANK[right[0]] < _RANK[sign]
    or (_RANK[right[0]] == _RANK[sign] and (right[0] != sign or sign in '-/'))
  ):
    second = f'({second})'
  return f'{first}{sign}{second}'


def _slip(text, rng, max_value) -> str:
  """The expression with another operator at one place, if one keeps all values in range."""
  places = [i for i, c in enumerate(text) if c in _RANK]
  place = places[int(rng.integers(len(places)))]
  others = rng.permutation([sign for sign in '+-*' if sign != text[place]]).tolist()
  for sign in others:
    changed = f'{text[:place]}{sign}{text[place + 1 :]}'
    if all(v is not None for v in _values(changed, max_value)):
      return changed
  return text


def _values(text, max_value):
  """The results on the way, None from where one is not whole or out of range."""
  found: list[int | None] = []

  def apply(a, sign, b):
    found.append(None if a is None or b is None else _apply(a, sign, b, max_value))
    return found[-1]

  list(reductions(_tokens(text), PRECEDENCE, apply))
  return found


def _work(expression: str) -> str:
  """Each operation of the expression as an equation, a semicolon, and the expression."""
  steps = []

  def apply(a, sign, b):
    result = {'+': a + b, '-': a - b, '*': a * b, '/': Fraction(a, b)}[sign]
    steps.append(f'{a}{sign}{b}={result}')
    return int(result)

  list(reductions(_tokens(expression), PRECEDENCE, apply))
  return f'{",".join(steps)};{expression}'


def _tokens(text):
  """Numbers as integers, operators and brackets as they are."""
  for sign in '+-*/()':
    text = text.replace(sign, f' {sign} ')
  return [int(token) if token.isdigit() else token for token in text.split()]


def _parts(problem: Problem) -> tuple[list[int], int]:
  """Numbers and target of a prompt."""
  numbers, _, target = problem.prompt[:-1].partition(';')
  return list(map(int, numbers.split(','))), int(target)


def _extract(completion: str) -> str | None:
  """The text after the last semicolon; the whole completion if there is none."""
  return completion.rpartition(';')[2] or None
