"""Mathematical equality of LaTeX answers, by Math-Verify and SymPy in worker processes."""

from __future__ import annotations

import functools
import importlib.util
import re
from collections.abc import Callable
from fractions import Fraction

from rljax.verifiers.boxed import one_boxed
from rljax.verifiers.equality import number, plain_latex, same_answer
from rljax.verifiers.scoring import BadTarget
from rljax.verifiers.workers import Workers

_MOST_CHARACTERS = 1000
_LETTERS = re.compile(r"[^\W\d_]+(?:[\s.'-]+[^\W\d_]+)*")


def latex_verifier(extract: Callable[[str], str | None] | None = one_boxed, **options) -> Workers:
  """A verifier of mathematical answers; needs `pip install rljax[verify]`.

  Args:
    extract: `completion -> answer`; by default all boxes of a text must say the same.
    **options: of `Workers`: `workers`, `seconds`, `batch_seconds`, `failure`, ...
  Returns:
    `Workers` that judge by `same_latex`. `bad_target` marks the problems whose target Math-Verify
    cannot read: they score `failure`, never 1, and should be left out.
  Raises:
    ModuleNotFoundError: Math-Verify is not installed.
  """
  if importlib.util.find_spec('math_verify') is None:
    raise ModuleNotFoundError(
      "latex_verifier needs Math-Verify: pip install 'rljax[verify]'. Without it, same_answer "
      'compares numbers, and LaTeX as text.'
    )
  return Workers(same_latex, extract=extract, canary=_CANARY, **options)


def same_latex(answer: str, target: str) -> bool:
  """Whether two LaTeX answers are mathematically equal; it may hang, so call it in `Workers`.

  Two numbers are compared exactly by `same_number`, letters and words as text by `same_text`, since
  Math-Verify reads a word as a product. The rest is equal if `same_answer` says so or Math-Verify
  does: expressions, sets, intervals, tuples, matrices, equations. It drops units, so that 5 cm is
  5, and the order of a bare list, so that `3, 5` is `5, 3`. An answer of more than 1000 characters,
  or one that cannot be read, is wrong.

  Raises:
    BadTarget: the target is blank, too long, or cannot be read.
  """
  import math_verify

  if not target.strip() or len(target) > _MOST_CHARACTERS:
    raise BadTarget(f'{target[:80]!r} is no target for an answer.')
  value, right = number(answer), number(target)
  if value is not None and right is not None:
    return value == right
  if _LETTERS.fullmatch(plain_latex(target)):
    return same_answer(answer, target)
  gold = _parse(_spelled(target, right))
  if not gold:  # before any comparison, so that all answers to a problem find the same
    raise BadTarget(f'Math-Verify cannot read the target {target[:80]!r}.')
  if same_answer(answer, target):
    return True
  if len(answer) > _MOST_CHARACTERS or _LETTERS.fullmatch(plain_latex(answer)):
    return False
  guess = _parse(_spelled(answer, value))
  # Not symmetric: the target comes first. The time limit is the worker's; theirs uses signals.
  return bool(guess) and math_verify.verify(list(gold), list(guess), timeout_seconds=None)


@functools.lru_cache(maxsize=256)  # all samples of a problem have one target
def _parse(text: str) -> tuple:
  from math_verify import LatexExtractionConfig, parse

  return tuple(
    parse(
      f'\\boxed{{{text}}}',
      extraction_config=[LatexExtractionConfig(boxed_match_priority=0)],
      fallback_mode='no_fallback',
      parsing_timeout=None,
    )
  )


def _spelled(text: str, value: Fraction | None) -> str:
  """A number in a spelling that Math-Verify reads as this number, which 1e3 is not."""
  return text if value is None else f'\\frac{{{value.numerator}}}{{{value.denominator}}}'


_CANARY = (
  ('\\frac{\\sqrt{2}}{2}', '1/\\sqrt{2}', 1.0),
  ('x^2 + 2x + 1', '(x+1)^2', 1.0),
  ('\\sqrt{3}', '\\sqrt{2}', 0.0),
)
