"""Unit tests of programs as data, and when an output is the expected one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from rljax.verifiers.sandbox import wire


class Script(NamedTuple):
  """The program reads standard input and prints; its exit status must be 0.

  Attributes:
    stdin: what it reads.
    stdout: what it is to print, by `same_output`.
  """

  stdin: str
  stdout: str


class Call(NamedTuple):
  """A function of the program is called.

  Attributes:
    function: an expression that gives it: 'f', or 'Solution().f'.
    arguments: plain values, such as JSON has.
    expected: its value, by `same_value`.
  """

  function: str
  arguments: Sequence[Any]
  expected: Any


class Assertion(NamedTuple):
  """Statements that raise nothing if the program is right.

  They run apart from the program. Names that they do not define are the program's; its functions
  and objects can be called, read, indexed and iterated over, with plain values as arguments. Its
  objects cannot be compared.

  Attributes:
    code: such as 'assert f(2) == 4'.
    names: names of Python's own that are the program's here, as 'sum' where it defines a `sum`.
  """

  code: str
  names: Sequence[str] = ()


Test = Script | Call | Assertion


def calls(function: str, pairs: str | Sequence[tuple[Sequence[Any], Any]]) -> list[Call]:
  """Unit tests from pairs of arguments and expected value, as JSON or as what JSON gives.

  >>> calls('add', '[[[1, 2], 3]]')
  [Call(function='add', arguments=[1, 2], expected=3)]
  """
  read: Sequence[Any] = json.loads(pairs) if isinstance(pairs, str) else pairs
  return [Call(function, arguments, expected) for arguments, expected in read]


def same_output(printed: str, expected: str) -> bool:
  """Equal but for blanks at the ends of lines and empty lines at the end.

  >>> same_output('1 2 \\n3\\n\\n', '1 2\\n3'), same_output('1  2', '1 2')
  (True, False)
  """

  one, other = (
    [line.rstrip() for line in text.rstrip().split('\n')] for text in (printed, expected)
  )
  return one == other


def same_value(returned: Any, expected: Any) -> bool:
  """Equal as Python has it, after both went the way of JSON: tuples are lists, keys are texts.

  >>> same_value((1, [2.0]), [1, [2]]), same_value({1: 'a'}, {'1': 'a'}), same_value({1}, [1])
  (True, True, False)
  """
  return _plain(returned) == _plain(expected)


def _plain(value):
  if isinstance(value, (list, tuple)):
    return [_plain(each) for each in value]
  if isinstance(value, dict):
    return {_key(key): _plain(each) for key, each in value.items()}
  return value


def _key(key):
  if key is None or isinstance(key, (bool, int, float)):
    return json.dumps(key)
  return key


def check(tests: Sequence[Test]) -> None:
  """Raises ValueError unless there are unit tests, with arguments that can be passed."""
  if not tests:
    raise ValueError('A program without a unit test cannot be judged.')
  for test in tests:
    if isinstance(test, Call):
      try:
        wire.encode(list(test.arguments))
      except TypeError as error:
        raise ValueError(f'{test} has an argument that cannot be passed: {error}.') from None
    elif not isinstance(test, (Script, Assertion)):
      raise ValueError(f'{test!r} is no unit test; expected a Script, a Call or an Assertion.')


def from_wire(tree: Any) -> Any:
  """What a program returned, by way of JSON; ValueError or TypeError for what JSON has not.

  This is in the trainer, so it takes time by size alone: unlike in `wire.decode` the keys of
  dictionaries are texts, which nobody can make collide.
  """
  if not isinstance(tree, list):
    if isinstance(tree, dict):
      raise ValueError('not a value')
    return tree
  letter, *rest = tree
  if letter in ('l', 't'):
    return [from_wire(each) for each in rest]
  if letter == 'd':
    return {_key(from_wire(k)): from_wire(v) for k, v in zip(rest[::2], rest[1::2], strict=True)}
  if letter == 'i' and len(rest) == 1:
    return int(rest[0], 16)
  raise ValueError('JSON has no such type')
