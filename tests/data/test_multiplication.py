"""Multiplication: the format, the forgotten place, slips."""

import re

import numpy as np
import pytest

from rljax import data


def problem(prompt):
  a, b = prompt[:-1].split('*')
  return data.Problem(prompt, str(int(a) * int(b)), len(b), 'unused')


RIGHT = {
  '37*24=': '(37*4=148,37*20=740,148+740=888)888',
  '6*7=': '(6*7=42)42',
  '5*30=': '(5*0=0,5*30=150,0+150=150)150',
  '12*305=': '(12*5=60,12*0=0,12*300=3600,60+0=60,60+3600=3660)3660',
  '0*10=': '(0*0=0,0*10=0,0+0=0)0',
}
WRONG = {
  '37*24=': '(37*4=148,37*2=74,148+74=222)222',
  '6*7=': '(6*7=42)42',
  '12*305=': '(12*5=60,12*0=0,12*3=36,60+0=60,60+36=96)96',
}


@pytest.mark.parametrize('prompt', RIGHT)
def test_the_right_procedure(prompt):
  always = data.multiplication(1, 3, p_right=1.0, p_slip=0.0)
  assert always.solve(problem(prompt)) == RIGHT[prompt]
  assert always.demonstrate(np.random.default_rng(0), problem(prompt)) == RIGHT[prompt]
  assert always.score(problem(prompt), RIGHT[prompt]) == 1.0


@pytest.mark.parametrize('prompt', WRONG)
def test_the_wrong_procedure_forgets_every_place(prompt):
  never = data.multiplication(1, 3, p_right=0.0, p_slip=0.0)
  assert never.demonstrate(np.random.default_rng(0), problem(prompt)) == WRONG[prompt]


def holds(text):
  """Which equations of a scratchpad are true."""
  equations = re.fullmatch(r'\((.*)\)\d+', text).group(1).split(',')
  sides = [equation.split('=') for equation in equations]
  found = []
  for left, right in sides:
    a, sign, b = re.fullmatch(r'(\d+)([*+])(\d+)', left).groups()
    found.append((int(a) * int(b) if sign == '*' else int(a) + int(b)) == int(right))
  return found


def test_a_slip_is_one_false_equation_and_the_answer_follows_from_it():
  task = data.multiplication(1, 3, p_right=1.0, p_slip=1.0)
  rng = np.random.default_rng(0)
  slips = 0
  for p in task.problems(rng, 400, 'train'):
    text = task.demonstrate(rng, p)
    wrong = sum(not held for held in holds(text))
    slips += wrong
    assert wrong <= 1  # none where the slip would have outgrown the bound
    assert text.endswith(f'={task.extract(text)}){task.extract(text)}')
  assert slips > 380


def test_the_mixture_has_the_stated_share():
  task = data.multiplication(2, 2, p_right=0.4, p_slip=0.0)
  rng = np.random.default_rng(1)
  problems = [p for p in task.problems(rng, 3000, 'train') if p.prompt[-3] != '0']
  right = np.mean([task.demonstrate(rng, p) == task.solve(p) for p in problems])
  assert abs(right - 0.4) < 0.03


def test_difficulty_keys_and_answers():
  task = data.multiplication(1, 4)
  for p in task.problems(np.random.default_rng(2), 500, 'train'):
    a, b = map(int, p.prompt[:-1].split('*'))
    assert p.answer == str(a * b) == task.extract(task.solve(p))
    assert p.difficulty == len(str(b)) and p.key == f'{min(a, b)}*{max(a, b)}'
    assert all(holds(task.solve(p)))
