"""Prompts that ask for a length."""

import collections

import numpy as np
import pytest

from rljax import data

TASK = data.column_addition()
ASKING = data.with_budgets(TASK, (16, 24, 100))


def test_a_budget_stands_before_the_prompt_of_the_same_problem():
  plain = TASK.problems(np.random.default_rng(0), 600, 'train')
  asking = ASKING.problems(np.random.default_rng(0), 600, 'train')
  for before, after in zip(plain, asking, strict=True):
    n = data.budget(after)
    assert after.prompt == f'[{n}]{before.prompt}'
    assert (after.answer, after.key, after.difficulty) == (
      before.answer,
      before.key,
      before.difficulty,
    )
    assert len(after.prompt) <= ASKING.max_prompt
  counts = collections.Counter(map(data.budget, asking))
  assert set(counts) == {16, 24, 100} and min(counts.values()) > 150


def test_solutions_and_scores_know_nothing_of_it():
  for plain, asking in zip(
    TASK.problems(np.random.default_rng(1), 20, 'heldout'),
    ASKING.problems(np.random.default_rng(1), 20, 'heldout'),
    strict=True,
  ):
    assert ASKING.solve(asking) == TASK.solve(plain)
    assert ASKING.score(asking, TASK.solve(plain)) == 1.0 and ASKING.score(asking, '(x)7') == 0.0
    drawn = [
      task.demonstrate(np.random.default_rng(2), problem)
      for task, problem in ((TASK, plain), (ASKING, asking))
    ]
    assert drawn[0] == drawn[1]


def test_what_is_right_is_judged_without_it():
  judged = TASK._replace(right=lambda problem, completion: completion == problem.prompt)
  asking = data.with_budgets(judged, (7,))
  problem = data.Problem('[7]1+2=', '3', 1, 'k')
  assert asking.right(problem, '1+2=') and not asking.right(problem, '[7]1+2=')
  assert ASKING.right is None


def test_a_prompt_without_a_budget_is_told():
  for prompt in ('12+34=', '[]1+2=', '[x]1+2=', '[24', '24]1+2='):
    with pytest.raises(ValueError, match='asks for no length'):
      data.budget(data.Problem(prompt, '3', 1, 'k'))


@pytest.mark.parametrize(
  ('task', 'budgets', 'message'),
  [
    (TASK, (), 'at least one'),
    (TASK, (8, 0), 'from 1 on'),
    (TASK._replace(alphabet='0123456789+=(),;'), (8,), r"lacks '\[\]' to write budgets"),
  ],
)
def test_budgets_that_cannot_be_are_refused(task, budgets, message):
  with pytest.raises(ValueError, match=message):
    data.with_budgets(task, budgets)
