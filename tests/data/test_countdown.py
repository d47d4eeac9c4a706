"""Countdown: every problem has a solution, any solution counts, the greedy procedure."""

import importlib
import re
from collections import Counter

import numpy as np
import pytest

from rljax import data, verifiers


def problem(prompt, answer='unused'):
  return data.Problem(prompt, answer, 3, 'unused')


def test_every_problem_is_solved_by_its_worked_solution():
  task = data.countdown(2, 5)
  rng = np.random.default_rng(0)
  for p in task.problems(rng, 800, 'train'):
    numbers, target = p.prompt[:-1].split(';')
    numbers = list(map(int, numbers.split(',')))
    assert 2 <= len(numbers) == p.difficulty <= 5
    assert all(1 <= n <= 20 for n in numbers) and 1 <= int(target) <= 99
    steps, _, expression = task.solve(p).rpartition(';')
    assert expression == p.answer == task.extract(task.solve(p))
    # Python's own arithmetic on a text that this test has made sure of.
    assert re.fullmatch(r'[0-9+*/()-]+', expression)
    assert eval(expression) == int(target)
    assert sorted(map(int, re.findall(r'\d+', expression))) == sorted(numbers)
    for step in steps.split(','):
      left, right = step.split('=')
      assert eval(left) == int(right) and 1 <= int(right) <= 999
    assert len(steps.split(',')) == len(numbers) - 1
    assert task.right(p, task.solve(p)) and task.score(p, task.solve(p)) == 1.0


@pytest.mark.parametrize(
  ('expression', 'right'),
  [
    ('(25-8)*3', True),
    ('3*(25-8)', True),
    (' 3 * ( 25 - 8 ) ', True),
    ('25*3-8*3', False),  # twice the 3
    ('51', False),
    ('25+8+3', False),
    ('3*17', False),
    ('(25-8)*3=51', False),
    ('25-8*3', False),
    ('', False),
    ('(25-8)*3+0', False),
  ],
)
def test_what_is_right(expression, right):
  task = data.countdown()
  assert task.right(problem('3,8,25;51='), f'25-8=17,17*3=51;{expression}') is right
  assert task.right(problem('3,8,25;51='), expression) is right


def test_a_repeated_number_counts_as_often_as_it_is_there():
  task = data.countdown()
  assert task.right(problem('5,5,2;20='), '(5+5)*2')
  assert not task.right(problem('5,2,4;20='), '(5+5)*2')
  assert task.right(problem('8,3,3;8='), '8/(3/3)')


def test_numbers_may_be_left_out_where_the_task_says_so():
  some, usual = data.countdown(spare=1), data.countdown()
  p = problem('3,8,25;33=')
  assert some.right(p, '25+8') and not usual.right(p, '25+8')
  assert not some.right(problem('3,8,25;25='), '25')
  left_out = 0
  for p in some.problems(np.random.default_rng(0), 300, 'train'):
    used = Counter(re.findall(r'\d+', p.answer))
    given = Counter(p.prompt[:-1].split(';')[0].split(','))
    assert not used - given and (given - used).total() <= 1
    left_out += (given - used).total()
  assert 100 < left_out < 250


def test_the_wrong_procedure_joins_the_numbers_in_order_next_to_the_target():
  never = data.countdown(p_right=0.0, p_slip=0.0)
  rng = np.random.default_rng(0)
  found = never.demonstrate(rng, problem('3,8,25;51='))
  assert found == '3*8=24,24+25=49;3*8+25'
  assert never.demonstrate(rng, problem('20,3,5;18=')) == '20-3=17,17+5=22;20-3+5'
  assert never.demonstrate(rng, problem('2,9,4;28=')) == '2*9=18,18+4=22;2*9+4'
  assert never.demonstrate(rng, problem('2,9,4;3=')) == '9-2=7,7-4=3;9-2-4'


def test_the_mixture_has_the_stated_share_and_slips_change_one_operator():
  task = data.countdown(3, 3, p_right=0.5, p_slip=0.0)
  slipping = data.countdown(3, 3, p_right=1.0, p_slip=1.0)
  rng = np.random.default_rng(3)
  problems = task.problems(rng, 2000, 'train')
  shown = np.mean([task.demonstrate(rng, p) == task.solve(p) for p in problems])
  assert 0.5 < shown < 0.6  # the greedy procedure finds some of them too
  slipped = [task.extract(slipping.demonstrate(rng, p)) for p in problems]
  changed = [
    (p.answer, text) for p, text in zip(problems, slipped, strict=True) if text != p.answer
  ]
  assert len(changed) > 1800
  for before, after in changed:
    differing = [a + b for a, b in zip(before, after, strict=True) if a != b]
    assert len(differing) == 1 and set(differing[0]) <= set('+-*/')
  wrong = [not task.right(p, text) for p, text in zip(problems, slipped, strict=True)]
  assert np.mean(wrong) > 0.8


def test_keys_do_not_depend_on_the_order_of_numbers():
  for p in data.countdown().problems(np.random.default_rng(4), 50, 'train'):
    numbers, target = p.prompt[:-1].split(';')
    assert p.key == f'{",".join(map(str, sorted(map(int, numbers.split(",")))))};{target}'


@pytest.mark.parametrize(
  ('kwargs', 'match'),
  [
    ({'min_numbers': 1}, 'got 1, 4'),
    ({'max_numbers': 7}, 'got 3, 7'),
    ({'max_target': 1000}, 'max_target'),
    ({'max_number': 0}, 'max_number'),
    ({'spare': -1}, 'spare'),
    ({'p_right': 2.0}, 'p_right'),
  ],
)
def test_bad_values_are_clear_errors(kwargs, match):
  with pytest.raises(ValueError, match=match):
    data.countdown(**kwargs)


def test_a_range_without_targets_is_an_error(monkeypatch):
  monkeypatch.setattr(importlib.import_module('rljax.data.countdown'), '_IDLE', 1)
  task = data.countdown(6, 6, max_number=900, max_target=1)
  with pytest.raises(ValueError, match='1 draws of numbers up to 900 had no target up to 1'):
    task.problems(np.random.default_rng(0), 500, 'train')


def test_the_canary_takes_it_and_finds_a_verifier_that_takes_everything():
  task = data.countdown(spare=4)
  verifiers.canary(task)
  with pytest.raises(RuntimeError, match='takes the answer of every other problem'):
    verifiers.canary(task._replace(right=lambda problem, completion: True))
