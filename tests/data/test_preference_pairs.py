"""Preference pairs: what is chosen is right and what is rejected is wrong, in any task."""

import json

import numpy as np
import pytest

from rljax import data, verifiers


def judged(task, problem, text):
  return verifiers.verify(task, [problem], [text], [False])['correct'][0]


@pytest.mark.parametrize(
  'name', ['column_addition', 'random_calculation', 'multiplication', 'countdown']
)
@pytest.mark.parametrize('split', ['train', 'heldout'])
def test_chosen_is_right_and_rejected_is_wrong(name, split):
  task = data.get_task(name)
  pairs = data.preference_pairs(task, np.random.default_rng(0), 60, split)
  problems = task.problems(np.random.default_rng(0), 60, split)
  assert len(pairs) == 60
  for pair, problem in zip(pairs, problems, strict=True):
    assert pair.prompt == problem.prompt and pair.chosen == task.solve(problem)
    assert judged(task, problem, pair.chosen) == 1.0
    assert judged(task, problem, pair.rejected) == 0.0
  assert pairs == data.preference_pairs(task, np.random.default_rng(0), 60, split)


def test_a_task_of_right_demonstrations_rejects_solutions_of_other_problems(tmp_path):
  rows = [{'question': f'{i}+1?', 'answer': str(i + 1)} for i in range(50)]
  path = tmp_path / 'sums.jsonl'
  path.write_text('\n'.join(map(json.dumps, rows)))
  task = data.from_file(str(path))
  for n in (1, 30):
    for pair in data.preference_pairs(task, np.random.default_rng(0), n):
      assert pair.chosen == f'#### {int(pair.prompt.split("+")[0]) + 1}' != pair.rejected
      assert pair.rejected.startswith('#### ')


def test_a_verifier_that_takes_all_or_nothing_is_an_error():
  task = data.countdown()
  for right, match in ((True, 'has no wrong completion'), (False, 'calls its own solution')):
    broken = task._replace(right=lambda problem, completion, right=right: right)
    with pytest.raises(ValueError, match=match):
      data.preference_pairs(broken, np.random.default_rng(0), 2)


def test_no_pairs():
  assert data.preference_pairs(data.countdown(), np.random.default_rng(0), 0) == []
