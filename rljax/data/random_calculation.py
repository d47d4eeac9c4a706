"""Random expressions of digits: the small-model variant of RandomCalculation (arXiv 2507.10532).

`6+7*9=` is continued by one operation a step, `6+63=69`. The answer is what follows the last `=`.
An expression may hold brackets, so the worked solution has no delimiter of its own: it is a chain
of equations, and nothing in it can be taken for a part of an expression.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rljax.data.expressions import LEFT_TO_RIGHT, PRECEDENCE, evaluate, grow, reductions
from rljax.data.slips import slipped
from rljax.data.task import Problem, Task, check_fractions, check_levels, draw_split
from rljax.data.tokenizer import ARITHMETIC
from rljax.verifiers.exact import exact

_APPLY = {'+': operator.add, '-': operator.sub, '*': operator.mul}
_MAX_LEVEL = 5
_FILLINGS = 9**4


def random_calculation(
  levels: Sequence[int] = (1, 2, 3),
  operators: str = '+-*',
  p_right: float = 0.30,
  p_slip: float = 0.03,
  max_value: int = 99,
  p_reject_insensitive: float = 0.7,
) -> Task:
  """Expressions of a few digits whose demonstrations mostly ignore precedence.

  An expression of level i joins two of levels j and i - 1 - j (see `expressions.grow`) with j
  uniform below i / 2, operator, order and digits 1-9 uniform. Only those count whose every
  intermediate value, worked out rightly and from left to right, lies in [0, `max_value`]. Levels
  are equally likely among these; then the share `p_reject_insensitive` of the problems on which
  both procedures agree is rejected.

  The wrong procedure works from left to right, brackets first: `2+3*4=` -> `5*4=20`. A slip
  replaces one digit of one result by another one and the rest follows from it. Difficulty is the
  level. Problems that are made of the same characters share a key.

  Args:
    levels: numbers of operators, each in 1..5. Up to 3, every filling of a pattern with digits is
      in the draw; above, 6561 random ones for each pattern (and building takes seconds).
    operators: some of `+-*`; division needs exact fractions, which `random_calculation_latex` has.
    p_right: share of demonstrations by the right procedure.
    p_slip: share of demonstrations with a slip, whichever the procedure.
    max_value: largest value allowed on the way.
    p_reject_insensitive: share rejected among the problems that do not tell the procedures apart.
  Raises:
    ValueError: bad levels, operators or shares, or no problem is left.
  """
  levels = check_levels(levels, 1, _MAX_LEVEL)
  _check_operators(operators)
  check_fractions(p_right=p_right, p_slip=p_slip, p_reject_insensitive=p_reject_insensitive)
  table = _table(levels, operators, max_value, p_reject_insensitive)
  # Every digit and every result as long as it can be.
  longest = max(
    len(_work(p.replace('#', '9'), PRECEDENCE, lambda *_: max_value)) for p in table.patterns
  )

  def draw(rng, n):
    chosen = np.searchsorted(table.cumulative, rng.random(n) * table.cumulative[-1], 'right')
    return [
      _problem(table.patterns[p], digits, value)
      for p, digits, value in zip(
        table.pattern[chosen].tolist(),
        table.digits[chosen].tolist(),
        table.value[chosen].tolist(),
        strict=True,
      )
    ]

  def demonstrate(rng, problem):
    right, slip = rng.random(2) < (p_right, p_slip)
    text, tight = problem.prompt[:-1], PRECEDENCE if right else LEFT_TO_RIGHT
    if slip:
      completion = _work(text, tight, _slip_at(int(rng.integers(problem.difficulty)), rng))
      # A larger number after a slip can outgrow the bound; such a slip does not happen.
      if len(completion) <= longest:
        return completion
    return _work(text, tight, _apply)

  return Task(
    name='random_calculation',
    alphabet=ARITHMETIC,
    problems=lambda rng, n, split: draw_split(draw, rng, n, split),
    demonstrate=demonstrate,
    solve=lambda problem: _work(problem.prompt[:-1], PRECEDENCE, _apply),
    extract=_extract,
    score=lambda problem, completion: exact(_extract(completion), problem.answer),
    max_prompt=max(map(len, table.patterns)) + 1,
    max_completion=longest,
  )


class _Table(NamedTuple):
  """Every problem: its pattern (text with # for digits), digits (base 9), value and weight."""

  patterns: list[str]
  pattern: np.ndarray
  digits: np.ndarray
  value: np.ndarray
  cumulative: np.ndarray


@functools.lru_cache(maxsize=8)
def _table(levels: tuple[int, ...], operators: str, max_value: int, p_reject: float) -> _Table:
  patterns: list[str] = []
  columns: list[tuple[np.ndarray, ...]] = []
  for level in levels:
    codes = _fillings(level)
    digits = [codes // 9**i % 9 + 1 for i in range(level + 1)]
    rows, total = [], 0.0
    for text, share in _patterns(level, operators).items():
      right, in_range = _evaluate_all(text, digits, PRECEDENCE, max_value)
      wrong, also = _evaluate_all(text, digits, LEFT_TO_RIGHT, max_value)
      valid = np.flatnonzero(in_range & also)
      if not valid.size:
        continue
      total += share * valid.size
      weight = share * np.where(right[valid] == wrong[valid], 1.0 - p_reject, 1.0)
      rows.append((np.full(valid.size, len(patterns)), codes[valid], right[valid], weight))
      patterns.append(text)
    columns += [(*row[:3], row[3] / total) for row in rows]
  if not columns or not sum(row[3].sum() for row in columns):
    raise ValueError(
      f'No problem of levels {levels} with operators {operators!r} is left under '
      f'max_value={max_value} and p_reject_insensitive={p_reject}; raise the first or lower the '
      'second.'
    )
  pattern, code, value, weight = map(np.concatenate, zip(*columns, strict=True))
  return _Table(patterns, pattern, code, value, np.cumsum(weight))


def _patterns(level: int, operators: str) -> dict[str, float]:
  """The texts with # for every digit, and their probabilities under the generator."""
  known: list[dict[str, float]] = [{'#': 1.0}]
  for i in range(1, level + 1):
    mixed: dict[str, float] = {}
    halves = range((i + 1) // 2)
    for j in halves:
      for a, share_a in known[j].items():
        for b, share_b in known[i - 1 - j].items():
          share = share_a * share_b / (len(halves) * len(operators) * 2)
          for sign in operators:
            for left, right in ((a, b), (b, a)):
              text = ''.join(grow(list(left), sign, list(right)))
              mixed[text] = mixed.get(text, 0.0) + share
    known.append(mixed)
  return known[level]


def _fillings(level: int) -> np.ndarray:
  count = 9 ** (level + 1)
  if count <= _FILLINGS:
    return np.arange(count)
  return np.random.default_rng(level).choice(count, _FILLINGS, replace=False)


def _evaluate_all(pattern: str, digits: Sequence[np.ndarray], tight: str, max_value: int):
  """Value of a pattern for many digits at once, and where every value on the way is in range."""
  fillings = iter(digits)
  tokens = [next(fillings) if c == '#' else c for c in pattern]
  in_range = np.ones(digits[0].shape, bool)

  def apply(a, sign, b):
    value = _APPLY[sign](a, b)
    np.logical_and(in_range, (value >= 0) & (value <= max_value), out=in_range)
    return value

  return evaluate(tokens, tight, apply), in_range


def _problem(pattern: str, code: int, value: int) -> Problem:
  level = pattern.count('#') - 1
  text = pattern.replace('#', '%d') % tuple(code // 9**i % 9 + 1 for i in range(level + 1))
  return Problem(prompt=text + '=', answer=str(value), difficulty=level, key=''.join(sorted(text)))


def _apply(a: int, sign: str, b: int) -> int:
  return _APPLY[sign](a, b)


def _slip_at(place: int, rng: np.random.Generator):
  """Like `_apply`, with a slip in the operation number `place`."""
  done = 0

  def apply(a, sign, b):
    nonlocal done
    done += 1
    value = _APPLY[sign](a, b)
    return slipped(value, rng) if done == place + 1 else value

  return apply


def _work(text: str, tight: str, apply) -> str:
  tokens = [int(c) if c.isdigit() else c for c in text]
  return '='.join(''.join(map(str, step)) for step in reductions(tokens, tight, apply))


def _extract(completion: str) -> str | None:
  return completion.rpartition('=')[2] or None


def _check_operators(operators: str) -> None:
  if not operators or set(operators) - set(_APPLY) or len(set(operators)) < len(operators):
    raise ValueError(f"operators are some of '+-*', each once, not {operators!r}.")
