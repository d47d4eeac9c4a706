"""The adapter to reasoning-gym; all but one run where the package is installed."""

import importlib.util
import sys

import numpy as np
import pytest

from rljax import data, verifiers

installed = pytest.mark.skipif(
  importlib.util.find_spec('reasoning_gym') is None, reason='reasoning-gym is not installed'
)


@installed
@pytest.mark.parametrize(
  ('name', 'settings'),
  [
    ('chain_sum', {'max_terms': 3}),
    ('countdown', {'max_numbers': 4}),
    ('letter_counting', {}),
    ('syllogism', {}),
  ],
)
def test_problems_are_scored_by_their_generator(name, settings):
  task = data.get_task('reasoning_gym', dataset=name, size=300, settings=settings)
  rng = np.random.default_rng(0)
  train = task.problems(rng, 100, 'train')
  held = task.problems(rng, 5, 'heldout')
  assert not {p.key for p in train} & {p.key for p in held}
  for p in train[:20]:
    assert task.right(p, task.solve(p)) and task.score(p, task.solve(p)) == 1.0
    assert task.score(p, p.answer) == 0.0 and task.score(p, '<answer> </answer>') == 0.0
    assert len(p.prompt) <= task.max_prompt and len(task.solve(p)) <= task.max_completion
    assert set(p.prompt + task.solve(p)) <= set(task.alphabet)
  verifiers.canary(task)
  again = data.reasoning_gym(name, 300, settings=settings)
  assert again.problems(np.random.default_rng(1), 9, 'train') == task.problems(
    np.random.default_rng(1), 9, 'train'
  )


@installed
def test_any_solution_of_countdown_is_right():
  task = data.reasoning_gym('countdown', 50)
  p = task.problems(np.random.default_rng(0), 1, 'train')[0]
  assert task.right(p, f'thinking <answer>({p.answer}) + 0 * 1</answer>') is False
  assert task.right(p, f'<answer>7</answer> no: <answer>({p.answer})</answer>')


@installed
def test_demonstrations_are_answers_of_which_a_share_is_right():
  task = data.reasoning_gym('chain_sum', 400, p_right=0.3)
  rng = np.random.default_rng(0)
  problems = task.problems(rng, 1500, 'train')
  right = [task.right(p, task.demonstrate(rng, p)) for p in problems]
  assert abs(np.mean(right) - 0.3) < 0.05


@installed
@pytest.mark.parametrize(
  ('kwargs', 'match'),
  [
    ({'dataset': 'no_such'}, "makes no 'no_such'"),
    ({'settings': {'moon': 1}}, 'moon'),
    ({'settings': {'min_terms': -1}}, 'makes no'),
    ({'size': 0}, 'size is 0'),
    ({'p_right': 2.0}, 'p_right'),
    ({'prompt': 'x'}, 'one @'),
  ],
)
def test_bad_values_are_clear_errors(kwargs, match):
  with pytest.raises(ValueError, match=match):
    data.reasoning_gym(**kwargs)


def test_without_the_package_the_extra_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, 'reasoning_gym', None)
  with pytest.raises(ImportError, match=r"pip install 'rljax\[verify\]'"):
    data.get_task('reasoning_gym')
