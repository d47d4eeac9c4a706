"""Whether two answers are the same: exact numbers where both are numbers, else LaTeX as text.

Nothing is evaluated: a number is what a grammar of decimals, fractions and powers of ten reads, and
its digits and exponent are bounded, so that no text is expensive. An answer of None, which is what
an extractor gives where there is none, and an empty one equal nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction

_MOST_CHARACTERS = 1000  # of a number; also keeps its digits below what Python's int() accepts
_MOST_NORMALISED = 10000  # longer texts are compared as they are
_MOST_EXPONENT = 999

_PLAIN = re.compile(r'-?[0-9]{1,18}', re.ASCII)
_CHARACTERS = str.maketrans(
  {
    **dict.fromkeys('\u2212\u2013\ufe63\uff0d', '-'),  # minus, en dash, small and wide hyphen
    **dict.fromkeys('\u202f\u2006', '\u2009'),  # thin blanks, that separate thousands
    '\xa0': ' ',
    '\xb0': '^\\circ',
  }
)
_GROUPED = '[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,3}(?:\u2009[0-9]{3})+|[0-9]+'
_DECIMAL = re.compile(
  rf'(?P<sign>[+-]?)\s?(?:(?P<whole>{_GROUPED})(?:\.(?P<part>[0-9]*))?|\.(?P<only>[0-9]+))'
  r'(?:[eE](?P<e>[+-]?[0-9]{1,4})'
  r'|\s?(?:\\times|\\cdot|[*\xd7])\s?'
  r'10\^(?:\{(?P<power>[+-]?[0-9]{1,4})\}|(?P<bare>[+-]?[0-9]{1,4}))'
  r')?(?P<percent>\s?\\?%)?',
  re.ASCII,
)
_RATIO = re.compile(r'([^/{}]+)/([^/{}]+)')
_FRAC = re.compile(r'([+-]?)\s?\\[dtc]?frac\s?(\{[^{}]+\}|[0-9])\s?(\{[^{}]+\}|[0-9])')
_WRAPPERS = (('$$', '$$'), ('$', '$'), ('\\(', '\\)'), ('\\[', '\\]'), ('{', '}'))
_WORDS = r'\\(?:text|textbf|textrm|textit|mathrm|mathbf|mathit|mbox|operatorname)'
_WORD = re.compile(rf'{_WORDS}\s*\{{([^{{}}]*)\}}')
_NAME = re.compile(r'[A-Za-z](?:_\w|_\{\w+\})?\s*=(?!=)')


def number(text: str, *, units: Sequence[str] = ()) -> Fraction | None:
  r"""The exact value of a number as people and models write it; None if `text` is none.

  Read are decimals with `,` or thin blanks between thousands (`1,000` is 1000, never 1), `1/2` and
  `\frac{1}{2}` of decimals, `1e3` and `2 \times 10^{3}`, a percent sign as a hundredth,
  a leading plus, the minus signs of Unicode, leading zeros and a final dot, in `$...$`, `{...}` or
  `\text{...}`.

  No number: `1,00` and `1.000,5` (misplaced separators), `1 000` and `1\frac{1}{2}` (two numbers,
  or one), a fraction over 0, digits that are not ASCII, more than 1000 characters, an exponent
  beyond 999, and whatever would have to be computed.

  Args:
    text: the number, without anything around it.
    units: texts of which one may stand before or after the number, such as 'cm', '\$' or
      '%', which is then a unit and no hundredth; a unit that is not listed is not stripped.

  >>> [str(number(t)) for t in ('1,000', '-.5', '\\frac{2}{4}', '12%', '1,00', '5 cm')]
  ['1000', '-1/2', '1/2', '3/25', 'None', 'None']
  >>> number('5 cm', units=['cm'])
  Fraction(5, 1)
  """
  if len(text) > _MOST_CHARACTERS:
    return None
  if _PLAIN.fullmatch(text):
    return Fraction(int(text))
  if not units and (value := _decimal(text)) is not None:
    return value
  text = _unwrap(text)
  if units:
    text = _unwrap(_without_unit(text, units))
  text = text.replace('\\!', '').replace('{,}', ',').replace('\\,', '\u2009')
  if found := _FRAC.fullmatch(text):
    sign, *parts = found.groups()
    top, bottom = (_decimal(part.strip('{} ')) for part in parts)
  elif found := _RATIO.fullmatch(text):
    sign, (top, bottom) = '', (_decimal(part.strip()) for part in found.groups())
  else:
    return _decimal(text)
  if top is None or not bottom:
    return None
  return -top / bottom if sign == '-' else top / bottom


def same_number(answer: str | None, target: str, *, units: Sequence[str] = ()) -> bool:
  """Whether an answer is the number `target`, exactly; both as `number` reads them.

  An unreduced fraction is the same number: `2/4` is 0.5; 0.333 is not `1/3`.

  Raises:
    ValueError: `target` is no number; the task is at fault, not the answer.

  >>> same_number('1{,}000.0', '1000'), same_number('1/3', '0.333'), same_number(None, '0')
  (True, False, False)
  """
  right = number(target, units=units)
  if right is None:
    raise ValueError(f'The target {target[:80]!r} is not a number that `number` reads.')
  return answer is not None and number(answer, units=units) == right


def plain_latex(text: str) -> str:
  r"""One spelling of LaTeX for those that differ in how it looks alone.

  Math delimiters, `\left` and `\right`, spaces, `\text` and its like, `\dfrac`, braces around
  a single character, the minus signs of Unicode and a final dot do not distinguish answers; a blank
  between two letters or two digits does. Upper and lower case are different. Texts of more than
  10000 characters are only stripped.

  >>> plain_latex('$\\left( \\dfrac12, x^{2} \\right)$.')
  '(\\frac{1}{2},x^2)'
  """
  if len(text) > _MOST_NORMALISED:
    return text.strip()
  text = _unwrap(text)
  for pattern, spelling in _SPELLINGS:
    text = pattern.sub(spelling, text)
  return text.strip()


def same_text(answer: str | None, target: str) -> bool:
  r"""Whether an answer is written as `target` is, by `plain_latex`; all of it, not a part.

  A name may stand before one of the two: `x = 5` is 5, though not `y = 5`. Nothing is reordered,
  reduced or computed: `2/4` is not `1/2` here, nor `(1.0, 2)` the pair `(1, 2)`.

  Raises:
    ValueError: `target` is blank; the task is at fault, not the answer.

  >>> same_text('x = \\sqrt3', '\\sqrt{3}'), same_text('A or B', 'A'), same_text('', 'A')
  (True, False, False)
  """
  return _same(answer, target, lambda a, b: plain_latex(a) == plain_latex(b))


def same_answer(answer: str | None, target: str) -> bool:
  r"""Whether an answer is `target`: by `same_number` if both are numbers, else by `same_text`.

  Raises:
    ValueError: `target` is blank; the task is at fault, not the answer.

  >>> same_answer('x = 0.50', '\\frac{1}{2}'), same_answer('\\pi/2', '\\frac{\\pi}{2}')
  (True, True)
  """

  def same(a, b):
    left, right = number(a), number(b)
    if left is None or right is None:  # a number may stand in \displaystyle and its like
      a, b = plain_latex(a), plain_latex(b)
      if a == b:
        return True
      left, right = number(a), number(b)
    return left is not None and left == right

  return _same(answer, target, same)


def _same(answer: str | None, target: str, same: Callable[[str, str], bool]) -> bool:
  if not target.strip():
    raise ValueError('The target is blank; no answer can be right.')
  if answer is None or not answer.strip():
    return False
  if answer == target:
    return True
  if ('=' in answer) != ('=' in target):
    answer, target = _without_name(answer), _without_name(target)
  return same(answer, target)


def _without_name(text: str) -> str:
  text = _unwrap(text) if len(text) <= _MOST_NORMALISED else text
  found = _NAME.match(text)
  return text[found.end() :] if found and text.count('=') == 1 else text


def _without_unit(text: str, units: Sequence[str]) -> str:
  text = _plain_unit(_WORD.sub(r'\1', text)).replace('\\ ', ' ')
  for unit in sorted(map(_plain_unit, filter(None, units)), key=len, reverse=True):
    if text.endswith(unit):
      return text[: -len(unit)]
    if text.startswith(unit):
      return text[len(unit) :]
  return text


def _unwrap(text: str) -> str:
  """Without what may stand around an answer of bounded length: blanks, a final dot, delimiters."""
  text = text if text.isascii() else text.translate(_CHARACTERS)
  for _ in range(8):
    before = text
    text = text.strip().removesuffix('.').rstrip()
    for opening, closing in _WRAPPERS:
      if text.startswith(opening) and text.endswith(closing):
        inner = text[len(opening) : -len(closing)]
        if len(text) >= len(opening + closing) and _balanced(inner, opening, closing):
          text = inner
          break
    if found := _WORD.fullmatch(text):
      text = found[1]
    if text == before:
      break
  return text


def _plain_unit(text: str) -> str:
  return text.replace('\\%', '%').replace('\\$', '$')


def _balanced(inner: str, opening: str, closing: str) -> bool:
  """Whether no delimiter in the text belongs to the pair around it."""
  if opening not in inner and closing not in inner:
    return True
  if opening != '{':
    return False
  depth = 0
  for character in inner:
    depth += (character == '{') - (character == '}')
    if depth < 0:
      return False
  return True


def _decimal(text: str) -> Fraction | None:
  found = _DECIMAL.fullmatch(text)
  if not found:
    return None
  exponent = int(found['e'] or found['power'] or found['bare'] or 0)
  if abs(exponent) > _MOST_EXPONENT:
    return None
  whole = (found['whole'] or '').replace(',', '').replace('\u2009', '')
  part = found['part'] or found['only'] or ''
  digits = int(whole + part or '0')
  scale = exponent - len(part) - (2 if found['percent'] else 0)
  digits = -digits if found['sign'] == '-' else digits
  return Fraction(digits * 10**scale) if scale >= 0 else Fraction(digits, 10**-scale)


_SPELLINGS = [
  (re.compile(pattern), spelling)
  for pattern, spelling in (
    (r'\\(?:left|right|[bB]igg?[lrm]?|displaystyle|limits)(?![A-Za-z])', ''),
    (r'\\!|(?<!\\)\$|\\[()\[\]]', ''),
    (r'\\[,;: ]|\\q?quad(?![A-Za-z])|~|\u2009', ' '),
    (_WORDS + r'\s*\{([^{}]*)\}', r'\1'),
    (r'\\[dtc]frac(?![A-Za-z])', r'\\frac'),
    (r'\\frac\s?([0-9])', r'\\frac{\1}'),
    (r'\\frac\s?(\{[^{}]*\})\s?([0-9])', r'\\frac\1{\2}'),
    (r'\\sqrt\s?([0-9])', r'\\sqrt{\1}'),
    (r'\\frac\{-([^{}]*)\}', r'-\\frac{\1}'),
    (r'([\^_])\{(\w)\}', r'\1\2'),
    (r'\\le(?![A-Za-z])', r'\\leq'),
    (r'\\ge(?![A-Za-z])', r'\\geq'),
    (r'\\ne(?![A-Za-z])', r'\\neq'),
    (r'\\%', '%'),
    (r'(?<=[A-Za-z])\s+(?=[A-Za-z])|(?<=[0-9])\s+(?=[0-9])', '\x00'),  # the blanks that count
    (r'\s+', ''),
    ('\x00', ' '),
    (r'^(-?)(\\?\w+)/(\\?\w+)$', r'\1\\frac{\2}{\3}'),
  )
]
