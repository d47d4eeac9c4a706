"""Unit tests of programs: what each kind says of right and wrong ones."""

import json
import os
import pathlib

import numpy as np
import pytest

from rljax import verifiers
from rljax.verifiers import Assertion, Call, Limits, Sandbox, Script, run_program, sandbox

if not all(sandbox.capabilities().values()):
  pytest.skip(
    f'This machine confines no program: {sandbox.capabilities()}', allow_module_level=True
  )

LIMITS = Limits(seconds=10, memory=256 << 20)


@pytest.fixture(scope='module')
def box():
  with Sandbox(LIMITS, workers=2) as opened:
    yield opened


def passes(box, source, *tests):
  result = run_program(source, tests, sandbox=box)
  assert not result.failed, result
  return list(result.passes)


def test_scripts_read_and_print(box):
  source = 'import sys\nfor line in sys.stdin: print(sum(map(int, line.split())), end=" \\n\\n")'
  tests = Script('1 2\n', '3'), Script('1 2\n3 4\n', '3\n\n7\n'), Script('1 2', '4')
  assert passes(box, source, *tests) == [True, True, False]


def test_a_script_must_end_well(box):
  assert passes(box, 'print(3)\nraise SystemExit(0)', Script('', '3')) == [True]
  assert passes(box, 'print(3)\nraise SystemExit(1)', Script('', '3')) == [False]
  assert passes(box, 'print(3)\n1 / 0', Script('', '3')) == [False]
  assert passes(box, 'print(3, flush=True)\nimport os\nos.abort()', Script('', '3')) == [False]


def test_a_script_ends_as_programs_do(box):
  source = """
import atexit, threading, time
if __name__ == '__main__':
  atexit.register(lambda: print('last'))
  threading.Thread(target=lambda: (time.sleep(0.05), print('first'))).start()
"""
  assert passes(box, source, Script('', 'first\nlast')) == [True]


def test_functions_are_called(box):
  source = """
class Solution:
  def double(self, x): return 2 * x
def f(x): return x
def pair(x): return x, x
def keyed(x): return {x: [x]}
"""
  huge = 10**5000
  tests = [
    Call('Solution().double', [4], 8),
    Call('Solution().double', [4], 9),
    Call('pair', [1.5], [1.5, 1.5]),
    Call('keyed', [1], {'1': [1]}),
    Call('f', [{'a': None, 'b': [True, 'x\ud800']}], {'a': None, 'b': [True, 'x\ud800']}),
    Call('f', [huge], huge),
    Call('f', [huge], huge + 1),
    Call('g', [1], 1),
    Call('f', [1, 2], 1),
    Call('f', [(1, 2)], [1, 2]),
  ]
  wanted = [True, False, True, True, True, True, False, False, False, True]
  assert passes(box, source, *tests) == wanted


@pytest.mark.parametrize(
  ('value', 'expected'), [('{1, 2}', [1, 2]), ('object()', None), ("b'a'", 'a'), ('1j', 0)]
)
def test_a_value_that_json_has_not_equals_nothing(box, value, expected):
  assert passes(box, f'def f(): return {value}', Call('f', [], expected)) == [False]


def test_pairs_come_as_json(box):
  tests = verifiers.calls('add', json.dumps([[[1, 2], 3], [[[1], [2]], [1, 2]], [[1, 1], 3]]))
  assert passes(box, 'def add(a, b): return a + b', *tests) == [True, True, False]


ADD = """
class Point:
  def __init__(self, x): self.x = x
  def moved(self, by): return Point(self.x + by)
  def __len__(self): return self.x
  def __getitem__(self, i): return [5, 6][i]
class Node:
  def __init__(self, value, next=None): self.value, self.next = value, next
def add(a, b): return a + b
def words(n):
  for i in range(n): yield 'w' * i
def fails(x): raise ValueError('no ' + x)
class Own(Exception): pass
def own(): raise Own('mine')
def sum(a, b): return a * b
"""


@pytest.mark.parametrize(
  'code',
  [
    'assert add(1, 2) == 3',
    'assert add((1,), (2,)) == (1, 2); assert add(1j, 1) == 1 + 1j',
    "assert add('a', 'b') == 'ab'; assert add([1], [2]) == [1, 2]; assert add(b'a', b'b') == b'ab'",
    'import math\nassert math.isclose(add(0.1, 0.2), 0.3)',
    'def check(f):\n  for i in range(5):\n    assert f(i, i) == 2 * i\ncheck(add)',
    'assert list(words(3)) == ["", "w", "ww"]',
    'p = Point(3)\nassert p.moved(2).x == 5 and len(p) == 3 and p[1] == 6 and [*p] == [5, 6]',
    'n = Node(1, Node(2))\nn.next.value = 7\nfound = []\nwhile n:\n  found.append(n.value)\n'
    '  n = n.next\nassert found == [1, 7]',
    'try:\n  fails("x")\nexcept ValueError as e:\n  assert str(e) == "no x"\nelse:\n  assert False',
    'try:\n  own()\nexcept Exception as e:\n  assert type(e).__name__ == "Own"',
    'g = words(1)\nassert next(g) == ""\ntry:\n  next(g)\nexcept StopIteration:\n  pass\n'
    'else:\n  assert False',
    'assert sum([1, 2]) == 3',
    'assert [add(x, y) for x, y in [(1, 2)]] == [3]',
    'assert (lambda q: add(q, q))(2) == 4',
  ],
)
def test_assertions_of_a_right_program_pass(box, code):
  assert passes(box, ADD, Assertion(code)) == [True]


@pytest.mark.parametrize(
  'code',
  [
    'assert add(1, 2) == 4',
    'assert add(1, 2) is None',
    'assert absent(1) == 1',
    'assert fails("x") is None',
    'assert Point(3) == Point(3)',
    'assert not Point(3) != Point(3)',
    'assert Point(3) in [3]',
    'assert {Point(3)}',
    'raise SystemExit(0)',
    'import sys\nsys.exit(0)',
  ],
)
def test_assertions_of_a_wrong_program_do_not_pass(box, code):
  assert passes(box, ADD, Assertion(code)) == [False]


def test_a_name_of_python_can_be_the_programs(box):
  assert passes(box, ADD, Assertion('assert sum(3, 4) == 12', names=['sum'])) == [True]


@pytest.mark.parametrize('code', ['assert add(', 'assert add(open, 1)', 'import os; os._exit(0)'])
def test_a_test_that_is_at_fault_gives_no_verdict(box, code):
  result = run_program(ADD, [Assertion('assert add(1, 2) == 3'), Assertion(code)], sandbox=box)
  assert result.failed and result.passes == (True, False) and result.message


def test_a_comparison_that_raises_gives_no_verdict(box):
  def broken(printed, expected):
    raise KeyError(printed)

  result = run_program('print(1)', [Script('', '1')], sandbox=box, same_output=broken)
  assert result.failed and not result.correct


def test_comparisons_can_be_replaced(box):
  result = run_program(
    'print("A")\ndef f(): return 0.3000001',
    [Script('', 'a'), Call('f', [], 0.3)],
    sandbox=box,
    same_output=lambda printed, expected: printed.strip().lower() == expected,
    same_value=lambda returned, expected: abs(returned - expected) < 1e-3,
  )
  assert result.correct


def test_every_unit_test_is_a_fresh_run(box):
  source = 'count = 0\ndef f():\n  global count\n  count += 1\n  return count'
  assert passes(box, source, *[Call('f', [], 1)] * 2, Assertion('assert f() == 1')) == [True] * 3


@pytest.mark.parametrize('avoid', [(), ('namespaces',)])
def test_directories_that_are_given_can_be_read_and_no_more(tmp_path, avoid):
  (tmp_path / 'given.py').write_text('value = 5')
  (tmp_path / 'given.py').chmod(0o666)  # so it is not the permissions that protect it
  tmp_path.chmod(0o777)
  with Sandbox(LIMITS, paths=[str(tmp_path)], avoid=avoid, workers=1) as opened:
    source = 'import given\nprint(given.value)\nopen(given.__file__, "w")'
    run = opened.run({'source': source})
    assert run.stdout == b'5\n' and run.status == 1
    assert (tmp_path / 'given.py').read_text() == 'value = 5'


def test_numbers_and_arrays_of_numpy_are_plain_values():
  source = (
    'import numpy as np\ndef total(n): return np.arange(n).sum()\ndef grid(n): return np.eye(n)'
  )
  tests = [
    Call('total', [4], 6),
    Call('total', [4], 7),
    Call('grid', [2], [[1, 0], [0, 1]]),
    Assertion('assert total(4) == 6 and grid(2).shape == (2, 2) and grid(2).sum() == 2'),
    Assertion('import numpy as np\nnp.testing.assert_allclose(grid(2), [[1, 0], [0, 1]])'),
    Assertion('import numpy as np\nassert np.allclose(grid(2), [[1, 0], [1, 1]])'),
  ]
  paths = [str(pathlib.Path(np.__file__).parents[1])]
  with Sandbox(Limits(seconds=20, memory=1 << 30), paths=paths, workers=1) as opened:
    assert passes(opened, source, *tests) == [True, False, True, True, True, False]


def test_columns(box):
  sources = [
    'def f(x): return x * x',
    'def f(x): return 4',
    None,
    'def f(x): return bytearray(10 ** 10)',
    'def f(x):\n  while x > 2: pass\n  return x * x',
  ]
  tests = [[Call('f', [2], 4), Call('f', [3], 9)]] * 3
  tests += [[Call('f', [3], 9)], [Call('f', [1], 1), Call('f', [3], 9), Assertion('assert (')]]
  with Sandbox(Limits(seconds=1.5, memory=256 << 20), workers=2) as quick:
    columns = verifiers.run_programs(sources, tests, sandbox=quick)
  assert {name: value.tolist() for name, value in columns.items()} == {
    'correct': [1, 0, 0, 0, 0],
    'score': [1, 0.5, 0, 0, np.float32(1 / 3)],
    'failed': [0, 0, 0, 0, 1],
    'timed_out': [0, 0, 0, 0, 1],
    'out_of_memory': [0, 0, 0, 1, 0],
    'passes': [[1, 1, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0], [1, 0, 0]],
    'tested': [[1, 1, 0], [1, 1, 0], [1, 1, 0], [1, 0, 0], [1, 1, 1]],
  }
  assert all(value.dtype == np.float32 for value in columns.values())


def test_the_page_about_it_runs():
  page = (pathlib.Path(__file__).parents[2] / 'docs' / 'code_rewards.md').read_text()
  first = page.split('```python\n')[1].split('```')[0]
  right = '```\ndef f(x): return x * x\n```'
  names = {'completions': [right, 'no program', right.replace('x * x', '4')]}
  exec(first, names)
  assert names['columns']['score'].tolist() == [1, 0, 0.5]


def test_columns_of_nothing():
  columns = verifiers.run_programs([], [])
  assert columns['correct'].shape == (0,) and columns['passes'].shape == (0, 0)


def test_the_time_of_all_unit_tests_is_limited():
  limits = Limits(seconds=1, total_seconds=1, memory=128 << 20)
  with Sandbox(limits, workers=1) as opened:
    tests = [Call('f', [1], 1)] * 50
    result = run_program('def f(x):\n  while True: pass', tests, sandbox=opened)
  assert result.passes == (False,) * 50 and result.timed_out and not result.failed


def test_arguments_are_checked(box):
  with pytest.raises(ValueError, match='without a unit test'):
    run_program('', [], sandbox=box)
  with pytest.raises(ValueError, match='no unit test'):
    run_program('', ['assert True'], sandbox=box)
  with pytest.raises(ValueError, match='cannot be passed'):
    run_program('', [Call('f', [object()], 1)], sandbox=box)
  with pytest.raises(ValueError, match='one or the other'):
    run_program('', [Script('', '')], sandbox=box, limits=LIMITS)
  with pytest.raises(ValueError, match='2 programs but 1'):
    verifiers.run_programs(['', ''], [[Script('', '')]])
  with pytest.raises(ValueError, match='memory'):
    Limits(memory=1000)
  with pytest.raises(ValueError, match='collection of names'):
    Sandbox(accept='files')
  with pytest.raises(ValueError, match='workers'):
    Sandbox(workers=0)


def test_what_cannot_be_confined_is_refused_unless_accepted():
  weak = ('namespaces', 'landlock')
  with pytest.raises(sandbox.Unavailable, match=r"from files.*accept=\('files',\)"):
    Sandbox(avoid=weak)
  with Sandbox(LIMITS, avoid=weak, accept=['files'], workers=1) as opened:
    verifiers.code_canary(opened)


def test_the_canary_finds_a_judge_that_calls_everything_wrong(box, monkeypatch):
  verifiers.code_canary(box)
  monkeypatch.setattr('rljax.verifiers.unit_tests._plain', lambda value: object())
  with pytest.raises(RuntimeError, match='misjudges'):
    verifiers.code_canary(box)


def test_a_worker_that_has_died_is_replaced(box):
  with Sandbox(LIMITS, workers=1) as opened:
    assert opened.run({'source': 'print(1)'}).stdout == b'1\n'
    (zygote,) = opened._all
    os.kill(zygote._process.pid, 9)
    assert opened.run({'source': 'print(2)'}).stdout == b'2\n'


def test_limits_under_which_nothing_runs_are_an_error_not_a_wrong_program(monkeypatch):
  with Sandbox(LIMITS, workers=1) as opened:
    monkeypatch.setattr('rljax.verifiers.sandbox.client._START', 'raise SystemExit("no start")')
    result = run_program('print(1)', [Script('', '1')], sandbox=opened)
    assert result.failed and 'no start' in result.message


@pytest.mark.parametrize(
  ('completion', 'code'),
  [
    ('```\na\n```', 'a\n'),
    ('x\n```python\na\nb\n```\n```\nc\n```\nend', 'c\n'),
    ('```python\na\n```\nthen\n```python\nb', 'a\n'),
    ('~~~\na\n```\nb\n~~~', 'a\n```\nb\n'),
    ('````\n```\na\n```\n````', '```\na\n```\n'),
    ('  ```py\r\na\r\n  ```', 'a\r\n'),
    ('```\n```', ''),
    ('``` a `b` ```', None),
    ('text ```a```', None),
    ('```a', None),
    ('', None),
  ],
)
def test_the_last_block_of_code(completion, code):
  assert verifiers.code_block(completion) == code
