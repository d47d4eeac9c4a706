"""What an arithmetic expression in text is worth, exactly and without running it as code."""

from __future__ import annotations

import operator
import re
from fractions import Fraction
from typing import NamedTuple

_TOKEN = re.compile(r'[0-9]+|[-+*/()]', re.ASCII)
_APPLY = {'+': operator.add, '-': operator.sub, '*': operator.mul, '/': operator.truediv}
_RANK = {'(': 0, '+': 1, '-': 1, '*': 2, '/': 2}


class Worth(NamedTuple):
  """What an expression holds.

  Attributes:
    value: its exact value.
    numbers: the numbers that stand in it, in order.
  """

  value: Fraction
  numbers: list[int]


def worth(text: str | None, *, longest: int = 200) -> Worth | None:
  """Value and numbers of an expression of whole numbers, `+ - * /` and brackets, else None.

  Blanks between tokens are allowed; signs of numbers, other characters, a division by zero and more
  than `longest` characters are not. Text of any kind is judged without an exception.

  >>> worth('(1 + 2) / 4')
  Worth(value=Fraction(3, 4), numbers=[1, 2, 4])
  >>> worth('2**3'), worth('-1'), worth('1/0'), worth('(1'), worth('1 2')
  (None, None, None, None, None)
  """
  if text is None or not text.strip() or len(text) > longest:
    return None
  tokens = _TOKEN.findall(text)
  if ''.join(tokens) != re.sub(r'[ \t]', '', text) or re.search(r'[0-9][ \t]+[0-9]', text):
    return None
  try:
    return Worth(_value(tokens), [int(token) for token in tokens if token.isdigit()])
  except (ZeroDivisionError, IndexError):
    return None


def _value(tokens):
  """Two stacks, so that no nesting is too deep; IndexError for what is no expression."""
  values, waiting, operand = [], [], True

  def reduce(rank):
    while waiting and _RANK[waiting[-1]] >= rank:
      right, left = values.pop(), values.pop()
      values.append(_APPLY[waiting.pop()](left, right))

  for token in tokens:
    if operand != (token.isdigit() or token == '('):
      raise IndexError(f'{token} at the wrong place')
    if token.isdigit():
      values.append(Fraction(int(token)))
      operand = False
    elif token == '(':
      waiting.append(token)
    elif token == ')':
      reduce(1)
      waiting.pop()  # its bracket
    else:
      reduce(_RANK[token])
      waiting.append(token)
      operand = True
  reduce(1)
  if operand or waiting:
    raise IndexError('not closed')
  return values.pop()
