"""Mathematical equality in worker processes; needs Math-Verify."""

import importlib.util

import pytest
from pairs import table

from rljax.verifiers import BadTarget, latex_verifier, same_latex

INSTALLED = importlib.util.find_spec('math_verify') is not None
needs_it = pytest.mark.skipif(not INSTALLED, reason='needs Math-Verify')


@pytest.mark.skipif(INSTALLED, reason='Math-Verify is installed')
def test_without_the_extra_it_says_what_to_install():
  with pytest.raises(ModuleNotFoundError, match='pip install'):
    latex_verifier()


@pytest.fixture(scope='module')
def judge():
  with latex_verifier(extract=None, seconds=30.0) as workers:
    yield workers


@needs_it
def test_the_verdicts_of_the_table(judge):
  _, right, answers, targets, _ = zip(*table(), strict=True)
  found = judge(answers, targets)
  wrong = [pair for pair, a, b in zip(table(), found['score'], right, strict=True) if a != b]
  assert wrong == []
  assert not found['failed'].any()


@needs_it
def test_boxes_are_taken_from_completions():
  with latex_verifier() as judge:
    found = judge(
      [
        r'\boxed{\sqrt{8}}',
        r'\boxed{2\sqrt 2} \boxed{\sqrt{8}}',
        r'\boxed{1} \boxed{2}',
        '2\\sqrt{2}',
        '',
      ],
      [r'2\sqrt{2}'] * 5,
    )
  assert found['correct'].tolist() == [1, 0, 0, 0, 0]
  assert not found['failed'].any()


@needs_it
@pytest.mark.parametrize('target', ['', ' ', '}{', '\\frac{', 'x' * 2000, '\\text{}'])
def test_a_target_that_cannot_be_read_is_marked_and_never_right(judge, target):
  found = judge(['5', target], [target] * 2)
  assert found['correct'].tolist() == found['score'].tolist() == [0, 0]
  assert found['bad_target'].tolist() == found['failed'].tolist() == [1, 1]
  with pytest.raises(BadTarget):
    same_latex('5', target)


BOMBS = [
  '9^{9^{9^9}}',
  '((9!)!)!',
  '99999999!',
  '10^{1000000000}',
  '1e999999999',
  r'\binom{1000000000}{500000000}',
  r'\sum_{n=1}^{10000000} n^2',
  r'\prod_{n=1}^{100000} n',
  '(' * 490 + '1' + ')' * 490,
  r'\frac{1}{' * 90 + '2' + '}' * 90,
  r'\sqrt{' * 100 + '2' + '}' * 100,
  r'\int_0^1 e^{x^{x^x}} \sin(\cos(x)) dx',
  '(' * 10**7,
  '9' * 10**6,
  '\\frac{' * 10**5,
  '}{][',
  '\ud800',
  '\x00',
  '^' * 900,
  '\\begin{matrix}' * 60,
]


@needs_it
@pytest.mark.slow
def test_bombs_are_never_right_and_the_workers_survive_them():
  with latex_verifier(extract=None, seconds=2.0, memory=2 << 30) as judge:
    found = judge([*BOMBS, '\\sqrt{4}+x'], ['5'] * len(BOMBS) + ['2+x'])
    assert found['correct'].tolist() == [0] * len(BOMBS) + [1]
    assert found['score'].tolist() == [0] * len(BOMBS) + [1]
    assert found['timed_out'].sum() >= 1
    assert judge(['\\sqrt{4}+x'] * 2, ['x+2', 'x'])['correct'].tolist() == [1, 0]
