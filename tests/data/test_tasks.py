"""What holds for every task: the split, the bounds, the choice by name."""

import itertools

import numpy as np
import pytest

from rljax import data
from rljax.data.task import draw_split, is_heldout

TASKS = {
  'addition': ('column_addition', {}),
  'addition_repeat': ('column_addition', {'min_digits': 1, 'max_digits': 5, 'p_repeat': 0.5}),
  'multiplication': ('multiplication', {'p_slip': 0.3}),
  'multiplication_long': ('multiplication', {'min_digits': 2, 'max_digits': 5, 'p_slip': 0.5}),
  'countdown': ('countdown', {'p_slip': 0.3}),
  'countdown_spare': ('countdown', {'max_numbers': 6, 'spare': 2, 'max_value': 99, 'p_slip': 0.3}),
  'calculation': ('random_calculation', {'p_slip': 0.3}),
  'calculation_long': ('random_calculation', {'levels': (4,), 'p_slip': 0.3}),
  'latex': ('random_calculation_latex', {'p_right': 0.5}),
  'latex_prefix': ('random_calculation_latex', {'levels': (0, 2), 'prefix': 'Compute @: '}),
}


@pytest.fixture(params=TASKS, scope='module')
def task(request):
  name, kwargs = TASKS[request.param]
  return data.get_task(name, **kwargs)


def test_the_split_does_not_move():
  # Held out today, held out in every version: these are values of the hash.
  held = [i for i in range(16_000) if is_heldout(str(i))]
  assert held[:3] == [20, 25, 30]
  assert abs(len(held) - 1000) < 100


def test_no_key_is_on_both_sides(task):
  rng = np.random.default_rng(0)
  train = {p.key for p in task.problems(rng, 2000, 'train')}
  heldout = {p.key for p in task.problems(rng, 200, 'heldout')}
  assert not train & heldout
  assert len(train) > 150


def test_heldout_prompts_are_distinct_and_the_same_for_every_run(task):
  problems = data.heldout(task, 150)
  assert len({p.prompt for p in problems}) == 150
  assert problems == data.heldout(task, 150)


def test_draws_depend_on_the_generator_only(task):
  one = task.problems(np.random.default_rng(5), 20, 'train')
  assert one == task.problems(np.random.default_rng(5), 20, 'train')
  assert one != task.problems(np.random.default_rng(6), 20, 'train')
  assert task.problems(np.random.default_rng(5), 0, 'train') == []


def test_texts_respect_the_bounds_and_the_alphabet(task):
  rng = np.random.default_rng(1)
  known = set(task.alphabet)
  for problem in task.problems(rng, 1000, 'train'):
    assert len(problem.prompt) <= task.max_prompt
    for completion in (task.solve(problem), task.demonstrate(rng, problem)):
      assert 0 < len(completion) <= task.longest_demonstration
      assert set(problem.prompt + completion) <= known


def test_the_right_solution_is_right_and_another_answer_is_not(task):
  rng = np.random.default_rng(2)
  problems = task.problems(rng, 200, 'train')
  for problem, other in itertools.pairwise(problems):
    assert task.extract(task.solve(problem)) == problem.answer
    assert task.score(problem, task.solve(problem)) == 1.0
    if problem.answer != other.answer:
      assert task.score(problem, task.solve(other)) < 1.0


@pytest.mark.parametrize('split', ['test', 'held-out', ''])
def test_an_unknown_split_is_an_error(task, split):
  with pytest.raises(ValueError, match=r"Unknown split.*'train', 'heldout'"):
    task.problems(np.random.default_rng(0), 3, split)


def test_a_negative_number_of_problems_is_an_error(task):
  with pytest.raises(ValueError, match='negative'):
    task.problems(np.random.default_rng(0), -1, 'train')


def test_too_few_heldout_problems_are_an_error():
  task = data.column_addition(1, 1)
  with pytest.raises(ValueError, match=r'100 distinct heldout problems .* only \d+ were found'):
    task.problems(np.random.default_rng(0), 100, 'heldout')


def test_a_task_without_training_problems_is_an_error():
  key = next(str(i) for i in range(1000) if is_heldout(str(i)))
  problem = data.Problem('p', '1', 1, key)
  with pytest.raises(ValueError, match='train problems were asked for, but only 0'):
    draw_split(lambda rng, n: [problem] * n, np.random.default_rng(0), 1, 'train')


def test_an_unknown_task_names_the_nearest_and_all():
  with pytest.raises(ValueError) as error:
    data.get_task('collumn_adition')
  message = str(error.value)
  assert "Did you mean 'column_addition'?" in message
  assert 'random_calculation_latex' in message


def test_only_tasks_can_be_named():
  for name in ('np', 'get_task', 'Task', '_nearest', None):
    with pytest.raises(ValueError, match='Unknown task'):
      data.get_task(name)


def test_an_unknown_argument_names_the_nearest():
  with pytest.raises(ValueError, match=r"no argument 'max_digit'. Did you mean 'max_digits'\?"):
    data.get_task('column_addition', max_digit=3)


@pytest.mark.parametrize(
  ('name', 'kwargs', 'match'),
  [
    ('column_addition', {'min_digits': 0}, 'min_digits'),
    ('column_addition', {'min_digits': 4, 'max_digits': 3}, 'got 4, 3'),
    ('column_addition', {'max_digits': 19}, '18'),
    ('column_addition', {'p_right': 1.5}, r'p_right is a fraction in \[0, 1\], not 1.5'),
    ('column_addition', {'p_repeat': float('nan')}, 'p_repeat'),
    ('random_calculation', {'levels': (0, 1)}, r'1\.\.5'),
    ('random_calculation', {'levels': (6,)}, r'1\.\.5'),
    ('random_calculation', {'levels': ()}, 'levels'),
    ('random_calculation', {'levels': 3}, 'levels'),
    ('random_calculation', {'operators': '+/'}, 'operators'),
    ('random_calculation', {'operators': '++'}, 'operators'),
    ('random_calculation', {'operators': ''}, 'operators'),
    ('random_calculation', {'max_value': -1}, 'No problem'),
    ('random_calculation', {'operators': '+', 'p_reject_insensitive': 1.0}, 'No problem'),
    ('random_calculation', {'p_slip': -0.1}, 'p_slip'),
    ('random_calculation_latex', {'levels': (21,)}, r'0\.\.20'),
    ('random_calculation_latex', {'max_solution': 10}, 'max_solution'),
    ('random_calculation_latex', {'p_right': 2}, 'p_right'),
  ],
)
def test_bad_values_are_clear_errors(name, kwargs, match):
  with pytest.raises(ValueError, match=match):
    data.get_task(name, **kwargs)
