"""What happens inside, in a process of its own that has been confined: a program runs.

Nothing here is trusted afterwards. The process knows the program and what it is asked for, never
the right answer.
"""

from __future__ import annotations

import atexit
import builtins
import os
import sys
import threading
import traceback
import types
from collections.abc import Callable
from typing import Any

from . import wire

OUT_OF_MEMORY = 86  # exit status; a program may lie about it, to no avail

_SCRIPT, _MODULE = '__main__', 'program'


def run(job: dict[str, Any], result: int, link: int | None) -> None:
  """Runs `job['source']` and ends the process.

  Args:
    job: `call` (an expression that gives a function) and `arguments` where a function is to be
      called, and its value is written to `result`; with a `link`, requests that come from there are
      answered until it closes; else the program is a script.
  """
  status = 1
  try:
    status = _run(job, result, link)
  except MemoryError:
    status = OUT_OF_MEMORY
  except SystemExit as error:
    status = _exit_status(error.code)
  except BaseException:  # as the interpreter does
    _explain()
  try:
    if status == 0 and not job.get('call') and link is None:
      threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as at any exit
      atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
  except BaseException:
    status = status or 1
  finally:
    os._exit(status)


def _run(job, result, link):
  script = job.get('call') is None and link is None
  module = types.ModuleType(_SCRIPT if script else _MODULE)
  module.__dict__['__builtins__'] = builtins
  sys.modules[module.__name__] = module
  exec(compile(job['source'], '<program>', 'exec', dont_inherit=True), module.__dict__)
  if link is not None:
    _serve(link, module.__dict__, job['most'])
  elif not script:
    function = eval(job['call'], module.__dict__)
    value = function(*wire.decode(job['arguments']))
    wire.send(result, wire.encode(value, _array))
  return 0


def _exit_status(code):
  if code is None:
    return 0
  return code & 0xFF if isinstance(code, int) else 1


def _explain():
  """The traceback without our own frames; a hostile exception may have anything in it."""
  kind, error, trace = sys.exc_info()
  while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
    trace = trace.tb_next
  try:
    traceback.print_exception(kind, error, trace, limit=-20, chain=False)
  except BaseException:
    os.write(2, b'an exception that cannot be printed\n')


def _serve(link: int, names: dict[str, Any], most: int) -> None:
  """Answers what the tests ask of the program's objects, each by one message."""
  kept: list[Any] = []

  def keep(value):
    if _is_numpy(value) and value.shape == ():
      return _array(value)
    kept.append(value)
    return ['o', len(kept) - 1]

  while True:
    try:
      operation, *arguments = wire.receive(link, most)
    except EOFError:
      return
    try:
      found = _OPERATIONS[operation](names, *(wire.decode(a, kept.__getitem__) for a in arguments))
      answer = ['value', wire.encode(found, keep)]
    except MemoryError:
      raise
    except Exception as error:
      answer = ['raised', type(error).__name__, _text(error)]
    wire.send(link, answer)


def _array(value):
  if not _is_numpy(value):
    raise TypeError(f'{type(value).__name__} is no plain value')
  return wire.encode(value.tolist())


def _is_numpy(value):
  """Whether it is one of NumPy's arrays or numbers, which have `shape` and `tolist`."""
  return type(value).__module__ == 'numpy' and hasattr(value, 'shape') and hasattr(value, 'tolist')


def _text(error):
  try:
    return str(error)[:200]
  except Exception:
    return ''


def _name(names, name):
  return names[name]


def _set(names, value, name, to):
  setattr(value, name, to)


_OPERATIONS: dict[str, Callable[..., Any]] = {
  'name': _name,
  'call': lambda _, function, positional, named: function(*positional, **named),
  'get': lambda _, value, name: getattr(value, name),
  'set': _set,
  'item': lambda _, value, key: value[key],
  'len': lambda _, value: len(value),
  'bool': lambda _, value: bool(value),
  'str': lambda _, value: str(value),
  'iter': lambda _, value: iter(value),
  'next': lambda _, value: next(value),
}
