"""Judging programs by unit tests, run apart from the trainer.

Every unit test is a run of its own, in a process that is confined (`verifiers.sandbox`) and holds
nothing of the trainer's memory. It is told what to compute, never what is expected: outputs are
compared here, and assert-style tests run in a third process that knows the program by messages
alone. So there is no 'passed' to print, no exit status, `__eq__`, patched module or descriptor that
makes a test pass. What a program can do is what passes any test: give the expected value, be it
looked up in itself or guessed. Tests that expect nothing (`assert f(1)`) are passed by anything
true.

Defended against, where `sandbox.capabilities()` names a mechanism: reading files beside the
interpreter's own, writing outside the working directory, the network, and processes of others;
everywhere: programs that do not end, fork without end, ask for memory or print without end. Not
defended against: faults of the kernel (a virtual machine around it all is the answer to those),
what caches and timing tell, and the load that `workers` times `Limits.processes` processes put on
the machine.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import Any, NamedTuple

import numpy as np

from rljax.verifiers.sandbox import Limits, Sandbox, program, wire

_FENCE = re.compile(r' {0,3}(`{3,}|~{3,})(.*)')


class Script(NamedTuple):
  """The program reads standard input and prints; its exit status must be 0.

  Attributes:
    stdin: what it reads.
    stdout: what it is to print, by `same_text`.
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


class Result(NamedTuple):
  """What the unit tests say of a program.

  Attributes:
    correct: every unit test passed.
    score: the share of unit tests passed.
    passes: one a unit test.
    failed: at least one gave no verdict, for reasons that are not the program's; it counts as not
      passed.
    timed_out: at least one ran out of time.
    out_of_memory: at least one ran out of memory.
    message: the first of what the failing tests say.
  """

  correct: bool
  score: float
  passes: tuple[bool, ...]
  failed: bool
  timed_out: bool
  out_of_memory: bool
  message: str


def run_program(
  source: str,
  tests: Sequence[Test],
  *,
  limits: Limits | None = None,
  sandbox: Sandbox | None = None,
  same_text: Callable[[str, str], bool] | None = None,
  same_value: Callable[[Any, Any], bool] | None = None,
) -> Result:
  """Runs the unit tests of one program.

  Args:
    source: Python.
    tests: at least one.
    limits: of every run, where there is no `sandbox`; `Limits()` where there is neither.
    sandbox: where to run; None makes one for this call alone, which takes a fifth of a second.
    same_text: `(printed, expected) -> bool`; None is the function of this name.
    same_value: `(returned, expected) -> bool`; None is the function of this name.
  Raises:
    ValueError: no tests, or an argument that is no plain value; `limits` beside a `sandbox`.
    sandbox.Unavailable: this machine cannot confine programs.
  """
  same = (same_text or globals()['same_text'], same_value or globals()['same_value'])
  with _opened(sandbox, limits, 1) as box:
    _check(tests)
    return _judge(box, source, tests, same)


def run_programs(
  sources: Sequence[str | None],
  tests: Sequence[Sequence[Test]],
  *,
  limits: Limits | None = None,
  workers: int = 2,
  sandbox: Sandbox | None = None,
  same_text: Callable[[str, str], bool] | None = None,
  same_value: Callable[[Any, Any], bool] | None = None,
) -> dict[str, np.ndarray]:
  """Runs the unit tests of many programs, as many at a time as the sandbox has workers.

  Args:
    sources: n programs; None where a completion holds none (`code_block`): wrong, and not failed.
    tests: n sequences of unit tests.
    limits, same_text, same_value: as for `run_program`.
    sandbox: where to run, after a `code_canary`; None makes one for this call alone.
    workers: programs at a time, where there is no `sandbox`.
  Returns:
    float32 arrays: `correct`, `score`, `failed`, `timed_out`, `out_of_memory` `[n]` as in `Result`;
    `passes` and `tested` `[n, U]` with U the largest number of unit tests, `tested` 1 on real ones.
    Watch the mean of `failed`: it must be 0.
  Raises:
    ValueError: as `run_program`, or other lengths.
    RuntimeError: the sandbox misjudges a program that is known.
  """
  if len(sources) != len(tests):
    raise ValueError(f'Got {len(sources)} programs but {len(tests)} sequences of unit tests.')
  for each in tests:
    _check(each)
  same = (same_text or globals()['same_text'], same_value or globals()['same_value'])
  shape = len(sources), max(map(len, tests), default=0)
  passes, tested = np.zeros((2, *shape), np.float32)
  names = ('correct', 'score', 'failed', 'timed_out', 'out_of_memory')
  columns = {name: np.zeros(shape[:1], np.float32) for name in names}
  with _opened(sandbox, limits, workers) as box, futures.ThreadPoolExecutor(box.workers) as threads:
    if sandbox is None:
      code_canary(box)
    some = [i for i, source in enumerate(sources) if source is not None]
    results = threads.map(lambda i: _judge(box, sources[i], tests[i], same), some)
    for i, result in zip(some, results, strict=True):
      passes[i, : len(tests[i])] = result.passes
      for name in names:
        columns[name][i] = getattr(result, name)
  for i, each in enumerate(tests):
    tested[i, : len(each)] = 1.0
  return {**columns, 'passes': passes, 'tested': tested}


def code_canary(box: Sandbox) -> None:
  """Raises unless a right program passes and a wrong one does not, for each kind of test.

  Raises:
    RuntimeError: with the result that is wrong.
  """
  tests = [
    Script('3\n', '9\n'),
    Call('square', [3], 9),
    Assertion('assert square(3) == 9'),
  ]
  for power, wanted in ((2, True), (3, False)):
    source = (
      f'def square(x):\n  return x ** {power}\n'
      "if __name__ == '__main__':\n  print(square(int(input())))\n"
    )
    result = run_program(source, tests, sandbox=box)
    if result.passes != (wanted,) * 3 or result.failed:
      raise RuntimeError(f'The sandbox misjudges a program that is known: {result}')


def code_block(completion: str) -> str | None:
  """What is inside the last closed fence (``` or ~~~) of a completion; None where there is none.

  >>> code_block('First\\n```python\\nx = 1\\n```\\nbetter:\\n```py\\nx = 2\\n```\\nDone.')
  'x = 2\\n'
  >>> code_block('no code') is None
  True
  """
  found, fence, lines = None, None, []
  for line in completion.splitlines(keepends=True):
    mark = _FENCE.match(line)
    if fence is None:
      # Behind backticks that open a block there are none on the same line.
      if mark and not (mark[1][0] == '`' and '`' in mark[2]):
        fence, lines = mark[1], []
    elif mark and mark[1].startswith(fence) and not mark[2].strip():
      found, fence = ''.join(lines), None
    else:
      lines.append(line)
  return found


def calls(function: str, pairs: str | Sequence[Sequence[Any]]) -> list[Call]:
  """Unit tests from pairs of arguments and expected value, as JSON or as what JSON gives.

  >>> calls('add', '[[[1, 2], 3], [[0, 0], 0]]')
  [Call(function='add', arguments=[1, 2], expected=3), Call(function='add', arguments=[0, 0], expected=0)]
  """
  read = json.loads(pairs) if isinstance(pairs, str) else pairs
  return [Call(function, arguments, expected) for arguments, expected in read]


def same_text(printed: str, expected: str) -> bool:
  """Equal but for blanks at the ends of lines and empty lines at the end.

  >>> same_text('1 2 \\n3\\n\\n', '1 2\\n3'), same_text('1  2', '1 2')
  (True, False)
  """

  def lines(text):
    return [line.rstrip() for line in text.rstrip().split('\n')]

  return lines(printed) == lines(expected)


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


@contextlib.contextmanager
def _opened(sandbox, limits, workers):
  if sandbox is None:
    with Sandbox(limits, workers=workers) as box:
      yield box
  elif limits is None:
    yield sandbox
  else:
    raise ValueError('The limits are those of the sandbox; give one or the other.')


def _check(tests):
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


def _judge(box, source, tests, same):
  """All unit tests of one program, one after the other, until its time is up."""
  left = box.limits.total_seconds
  passes, messages = [], []
  failed = timed_out = out_of_memory = False
  for test in tests:
    if left <= 0:
      timed_out = True
      passes.append(False)
      continue
    start = time.monotonic()
    try:
      passed, message, runs = _JUDGES[type(test)](box, source, test, same, left)
    except Exception as error:  # ours, or of a comparison: neither is the program's, so it is counted
      passed, message, runs = None, f'{type(error).__name__}: {error}', ()
    left -= time.monotonic() - start
    failed |= passed is None
    timed_out |= any(run.timed_out for run in runs)
    out_of_memory |= any(run.status == program.OUT_OF_MEMORY for run in runs)
    passes.append(passed is True)
    if not passed:
      messages.append(message)
  score = sum(passes) / len(passes)
  message = messages[0] if messages else ''
  return Result(all(passes), score, tuple(passes), failed, timed_out, out_of_memory, message)


def _script(box, source, test, same, seconds):
  stdin = test.stdin.encode('utf-8', 'surrogatepass')
  run = box.run({'source': source}, stdin, seconds)
  printed = run.stdout.decode('utf-8', 'replace')
  passed = _ended(run) and bool(same[0](printed, test.stdout))
  return passed, _message(run) or f'It printed {printed[:80]!r}.', (run,)


def _call(box, source, test, same, seconds):
  job = {'source': source, 'call': test.function, 'arguments': wire.encode(list(test.arguments))}
  run = box.run(job, b'', seconds)
  if not _ended(run):
    return False, _message(run), (run,)
  try:
    value = _simple(wire.loads(run.result[4:]))
  except (ValueError, TypeError, RecursionError) as error:
    return False, f'It gave no plain value: {error}.', (run,)
  return bool(same[1](value, test.expected)), 'It gave another value.', (run,)


def _assertion(box, source, test, same, seconds):
  job = {'test': test.code, 'names': list(test.names)}
  run, referee = box.judge({'source': source}, job, seconds)
  runs = (run, referee)
  if not referee.result:  # it was killed, or the test ended it
    stopped = any(each.timed_out or each.overflowed for each in runs)
    message = _message(run) or _message(referee) or 'The test ended itself.'
    return (False if stopped else None), message, runs
  verdict, reason = wire.loads(referee.result[4:])
  passed = {'passed': True, 'wrong': False, 'unfit': None}[verdict]
  return passed, _message(run) if reason.startswith('Gone') else reason, runs


def _ended(run):
  return run.status == 0 and not run.timed_out and not run.overflowed


def _message(run):
  """Why a run did not end well; empty if it did."""
  if run.timed_out:
    return 'It ran out of time.'
  if run.overflowed:
    return 'It printed too much.'
  if run.status == program.OUT_OF_MEMORY:
    return 'It ran out of memory.'
  said = run.stderr.decode('utf-8', 'replace').strip().split('\n')[-1][:200]
  return said or (f'It ended with status {run.status}.' if run.status else '')


def _simple(tree):
  """As `wire.decode` and then by way of JSON, but for what JSON has not, and in time that grows with
  the size alone: dictionaries have texts for keys, which nobody can make collide."""
  if not isinstance(tree, list):
    if isinstance(tree, dict):
      raise ValueError('not a value')
    return tree
  letter, *rest = tree
  if letter in ('l', 't'):
    return [_simple(each) for each in rest]
  if letter == 'd':
    return {
      _key(_simple(k)): _simple(v) for k, v in zip(rest[::2], rest[1::2], strict=True)
    }
  if letter == 'i' and len(rest) == 1:
    return int(rest[0], 16)
  raise ValueError('JSON has no such type')


_JUDGES = {Script: _script, Call: _call, Assertion: _assertion}
