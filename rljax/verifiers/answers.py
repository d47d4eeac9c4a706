"""Final answers of any kind: numbers compared as numbers, everything else as text."""

from __future__ import annotations

import re
from fractions import Fraction

from rljax.verifiers.numeric import canonical

_SIGNED = re.compile(r'([-+]?)\$?([0-9][^\n]*)', re.ASCII)
_ZEROS = re.compile(r'^0+(?=[0-9])', re.ASCII)
_GROUPED = re.compile(r'[0-9]{1,3}(,[0-9]{3})+(\.[0-9]*)?', re.ASCII)
_RATIO = re.compile(r'([0-9]{1,400})/([0-9]{1,400})', re.ASCII)


def number(text: str) -> Fraction | None:
  """The exact number that an answer states, None if it states none.

  Thousands may be set apart by commas, a dollar sign may stand in front, a full stop at the end,
  and zeros at either end; a ratio of whole numbers is a number too.

  >>> number('$1,000.00'), number('007'), number('3/4'), number('1,00'), number('two')
  (Fraction(1000, 1), Fraction(7, 1), Fraction(3, 4), None, None)
  """
  signed = _SIGNED.fullmatch(text.strip())
  if not signed:
    return None
  sign, digits = signed[1], signed[2].removesuffix('.')
  if _GROUPED.fullmatch(digits):
    digits = digits.replace(',', '')
  ratio = _RATIO.fullmatch(digits)
  if ratio:
    found = Fraction(int(ratio[1]), int(ratio[2])) if int(ratio[2]) else None
  else:
    plain = canonical(_ZEROS.sub('', digits))
    found = None if plain is None else Fraction(plain)
  return -found if sign == '-' and found is not None else found


def same_answer(answer: str | None, target: str) -> bool:
  """Whether two answers are the same number or, where either is none, the same text.

  Case and the amount of blanks in text do not matter.

  >>> same_answer('1,000', '1000.0'), same_answer(' Blue  cheese', 'blue cheese')
  (True, True)
  """
  if answer is None:
    return False
  first, second = number(answer), number(target)
  if first is not None and second is not None:
    return first == second
  return first is second and answer.casefold().split() == target.casefold().split()
