"""Numbers in text, compared exactly; text of any length and kind is judged without an exception."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction

_NUMBER = re.compile(r'-?(0|[1-9][0-9]{0,399})(\.[0-9]{1,400})?([eE][+-]?[0-9]{1,3})?', re.ASCII)


def canonical(text: str) -> str | None:
  """The one spelling of the decimal number `text`; None if it is none.

  Zeros at the end of a fraction, '-0' and exponents (up to 999) are rewritten. Leading zeros, a
  plus sign, blanks, digits that are not ASCII and more than 400 digits are no number.

  >>> canonical('5.00'), canonical('-0'), canonical('2.5e3'), canonical('05')
  ('5', '0', '2500', None)
  """
  if not _NUMBER.fullmatch(text):
    return None
  plain = format(Decimal(text), 'f')
  plain = plain.rstrip('0').rstrip('.') if '.' in plain else plain
  return '0' if plain == '-0' else plain


def closeness(answer: str | None, target: str) -> float:
  """Reward for a number near the target: half for the absolute, half for the relative error.

  `1 - min(|a - b|, 1) / 2 - min(|a - b| / (|b| + 1e-6), 1) / 2`, in [0, 1], and 1 only for a hit.
  An answer that is no number gets 0. For a target near 0 the relative half is gone at once; at
  target 0 an error of 0.001 costs half the reward.

  Raises:
    ValueError: `target` is no number.

  Source: arXiv 2507.10532, eq. 2.

  >>> closeness('2', '2'), closeness('0.5', '0'), closeness('two', '2')
  (1.0, 0.25, 0.0)
  """
  number = canonical(target)
  if number is None:
    raise ValueError(f'The target {target[:80]!r} is not a decimal number.')
  guess = None if answer is None else canonical(answer)
  if guess is None:
    return 0.0
  b = Fraction(number)
  error = abs(Fraction(guess) - b)
  relative = error / (abs(b) + Fraction(1, 10**6))
  return float(1 - min(error, Fraction(1)) / 2 - min(relative, Fraction(1)) / 2)
