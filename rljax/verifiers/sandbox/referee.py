"""Assert-style tests, in a process that never runs the program.

Names that a test does not define stand for the program's: a call of one is a message to the
program's process, and plain values come back. So the program never sees what is asserted, and no
method of its own (`__eq__`, `__bool__` of a result, a patched `assert`) takes part in a comparison.
"""

from __future__ import annotations

import ast
import builtins
import os
from collections.abc import Sequence
from typing import Any

from . import wire


class Gone(BaseException):
  """The program's process has ended or talks nonsense; no `except Exception` of a test hides it."""


class Unfit(BaseException):
  """The test asks for what cannot be asked of another process."""


class ProgramError(Exception):
  """An exception of the program's own class."""


def run(job: dict[str, Any], result: int, link: int) -> None:
  """Runs the test `job['test']`, sends `['passed' | 'wrong' | 'unfit', reason]`, ends the process.

  Args:
    job: `names` are taken from the program even where they are Python's own.
  """
  try:
    verdict = _verdict(job['test'], job['names'], Program(link, job['most']))
    wire.send(result, verdict)
  finally:
    os._exit(0)


def _verdict(test, names, program):
  try:
    tree = compile(test, '<test>', 'exec', ast.PyCF_ONLY_AST, dont_inherit=True)
    code = compile(tree, '<test>', 'exec', dont_inherit=True)
  except (SyntaxError, ValueError, RecursionError) as error:
    return ['unfit', f'{type(error).__name__}: {error}'[:200]]
  try:
    found = {name: program.ask('name', name) for name in free_names(tree, names)}
    exec(code, {'__name__': 'test', '__builtins__': builtins, **found})
  except Unfit as error:
    return ['unfit', str(error)[:200]]
  except BaseException as error:  # whatever it is, the test did not pass
    return ['wrong', f'{type(error).__name__}: {error}'[:200]]
  return ['passed', '']


def free_names(tree: ast.AST, names: Sequence[str]) -> list[str]:
  """What a test takes from the program: names it reads that neither it nor Python defines, and
  `names`."""
  read, defined = set(names), set(dir(builtins)) - set(names)
  for node in ast.walk(tree):
    if isinstance(node, ast.Name):
      (read if isinstance(node.ctx, ast.Load) else defined).add(node.id)
    elif isinstance(node, ast.arg):
      defined.add(node.arg)
    elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
      defined.add(node.name)
    elif isinstance(node, ast.alias):
      defined.add((node.asname or node.name).split('.')[0])
    elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
      defined.add(node.name)
  return sorted(read - defined)


class Program:
  """The other end of `program.run` with a link."""

  def __init__(self, link: int, most: int):
    self._link, self._most = link, most

  def ask(self, operation: str, *arguments: Any) -> Any:
    """One request; what the program raised is raised here, by the same name if it is Python's."""
    try:
      request = [operation, *(wire.encode(a, _named) for a in arguments)]
    except TypeError as error:
      raise Unfit(f'An argument cannot be passed: {error}') from None
    except RecursionError:
      raise Gone('What it gave is nested too deeply') from None
    try:
      wire.send(self._link, request)
      kind, *rest = wire.receive(self._link, self._most)
      if kind == 'value':
        return wire.decode(rest[0], lambda number: Remote(self, int(number)))
      name, text = rest
      raised = _exception(str(name))(str(text))
    except (OSError, EOFError, ValueError, TypeError, IndexError) as error:
      raise Gone(f'The program gave no answer ({type(error).__name__})') from None
    raise raised


class Remote:
  """An object of the program. It can be called, read, indexed and iterated over; it has no
  comparison, arithmetic or hash, because those would be the program's word for the verdict."""

  __slots__ = ('_number', '_program')
  __hash__ = None  # type: ignore[assignment]

  def __init__(self, program: Program, number: int):
    object.__setattr__(self, '_program', program)
    object.__setattr__(self, '_number', number)

  def __call__(self, *positional, **named):
    return self._program.ask('call', self, list(positional), named)

  def __getattr__(self, name):
    if name.startswith('__'):  # protocols, which other libraries look for, are not passed on
      raise AttributeError(name)
    return self._program.ask('get', self, name)

  def __setattr__(self, name, value):
    self._program.ask('set', self, name, value)

  def __getitem__(self, key):
    return self._program.ask('item', self, key)

  def __len__(self):
    return self._program.ask('len', self)

  def __bool__(self):
    return self._program.ask('bool', self)

  def __str__(self):
    return self._program.ask('str', self)

  def __iter__(self):
    return self._program.ask('iter', self)

  def __next__(self):
    try:
      return self._program.ask('next', self)
    except _Stop:
      raise StopIteration from None

  def __eq__(self, other):
    raise TypeError('an object of the program equals nothing; compare what its methods return')

  __ne__ = __eq__


class _Stop(ProgramError):
  """StopIteration of a function of the program. As itself it would end a loop of the test, such as
  `all(map(...))`, early and with the answer yes."""


def _named(value):
  if type(value) is not Remote:
    raise TypeError(f'{type(value).__name__} is no plain value')
  return ['o', object.__getattribute__(value, '_number')]


def _exception(name):
  if name == 'StopIteration':
    return _Stop
  kind = getattr(builtins, name, None)
  usual = isinstance(kind, type) and issubclass(kind, Exception)
  # Some need other arguments than a text; some mean something to a loop or to the test itself.
  if not usual or issubclass(kind, (UnicodeError, StopAsyncIteration, AssertionError)):
    return type(name, (ProgramError,), {}) if name.isidentifier() else ProgramError
  return kind
