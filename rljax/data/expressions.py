"""Working out an expression one operation at a time.

An expression is a list of tokens: the strings `+ - * / ( )` and values. Which operation comes next
depends on the strings only, so values may be integers, fractions, or arrays that hold many fillings
of one pattern.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

PRECEDENCE = '*/'
LEFT_TO_RIGHT = ''


def reductions(
  tokens: list[Any], tight: str, apply: Callable[[Any, str, Any], Any]
) -> Iterator[list[Any]]:
  """The tokens after each operation, down to a single value.

  The leftmost innermost bracket comes first under either rule; brackets around a single value go
  away.

  Args:
    tokens: a well-formed expression.
    tight: operators that go before the others: `PRECEDENCE`, or `LEFT_TO_RIGHT` for the usual
      mistake.
    apply: `(left, operator, right) -> value`.
  """
  while len(tokens) > 1:
    strings = [token if isinstance(token, str) else '' for token in tokens]
    bracketed = ')' in strings
    stop = strings.index(')') if bracketed else len(tokens)
    start = stop
    while start > 0 and strings[start - 1] != '(':
      start -= 1
    # From here on: value, operator, value, ..., value.
    at = next((i for i in range(start + 1, stop, 2) if strings[i] in tight), start + 1)
    value = apply(tokens[at - 1], strings[at], tokens[at + 1])
    if bracketed and stop - start == 3:
      tokens = [*tokens[: start - 1], value, *tokens[stop + 1 :]]
    else:
      tokens = [*tokens[: at - 1], value, *tokens[at + 2 :]]
    yield tokens


def evaluate(tokens: list[Any], tight: str, apply: Callable[[Any, str, Any], Any]) -> Any:
  """The single value that is left; arguments as in `reductions`."""
  return [tokens, *reductions(tokens, tight, apply)][-1][0]


def grow(left: list[str], operator: str, right: list[str]) -> list[str]:
  """Two expressions joined: brackets only around operands of `*` and `/` that hold an operation.

  So `a` minus the expression `b+c` reads `a-b+c`: what counts is the text, not how it came about.

  Source: arXiv 2507.10532; follows the authors' generate_datasets.NumericExpression.
  """
  if operator in PRECEDENCE:
    left = ['(', *left, ')'] if len(left) > 1 else left
    right = ['(', *right, ')'] if len(right) > 1 else right
  return [*left, operator, *right]
