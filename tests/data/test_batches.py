"""Packed demonstrations and padded prompts."""

import itertools

import numpy as np
import pytest

from rljax import data


def ids(*values):
  return np.array(values, np.int32)


def test_prompts_are_padded_on_the_left():
  padded = data.pad_prompts([ids(3), ids(1, 2)])
  assert padded.dtype == np.int32
  np.testing.assert_array_equal(padded, [[[-1, 3]], [[1, 2]]])
  np.testing.assert_array_equal(data.pad_prompts([ids(3)], 3), [[[-1, -1, 3]]])


@pytest.mark.parametrize(
  ('encoded', 'width', 'match'),
  [
    ([], None, 'no prompts'),
    ([ids(1), ids()], 4, 'Prompt 1 is empty'),
    ([ids(1), ids(1, 2, 3)], 2, 'Prompt 1 has 3 tokens, the width is 2'),
  ],
)
def test_bad_prompts_are_errors(encoded, width, match):
  with pytest.raises(ValueError, match=match):
    data.pad_prompts(encoded, width)


def test_packing_by_hand():
  pairs = [(ids(1, 2), ids(3, 0)), (ids(4), ids(5, 6, 0)), (ids(7), ids(0)), (ids(8), ids(0))]
  batch, used = data.pack(pairs, rows=2, width=6)
  assert used == 4
  assert {name: array.dtype for name, array in batch.items()} == {
    'tokens': np.int32,
    'positions': np.int32,
    'segments': np.int32,
    'mask': np.float32,
  }
  np.testing.assert_array_equal(batch['tokens'], [[1, 2, 3, 0, 7, 0], [4, 5, 6, 0, 8, 0]])
  np.testing.assert_array_equal(batch['positions'], [[0, 1, 2, 3, 0, 1]] * 2)
  np.testing.assert_array_equal(batch['segments'], [[0, 0, 0, 0, 1, 1]] * 2)
  np.testing.assert_array_equal(batch['mask'], [[0, 0, 1, 1, 0, 1], [0, 1, 1, 1, 0, 1]])


def test_unused_places_are_marked_in_every_array():
  batch, used = data.pack([(ids(1), ids(0))], rows=2, width=3)
  assert used == 1
  np.testing.assert_array_equal(batch['tokens'], [[1, 0, -1], [-1, -1, -1]])
  np.testing.assert_array_equal(batch['positions'], [[0, 1, -1], [-1, -1, -1]])
  np.testing.assert_array_equal(batch['segments'], [[0, 0, -1], [-1, -1, -1]])
  np.testing.assert_array_equal(batch['mask'], [[0, 1, 0], [0, 0, 0]])


def test_packing_ends_with_the_first_example_that_fits_nowhere():
  endless = itertools.cycle([(ids(1), ids(2, 0))])
  batch, used = data.pack(endless, rows=2, width=7)
  assert used == 4
  assert (batch['tokens'] >= 0).sum() == 12


def test_examples_that_no_row_can_hold_are_errors():
  with pytest.raises(ValueError, match='Example 1 has 4 tokens, a row has 3'):
    data.pack([(ids(1), ids(0)), (ids(1, 2), ids(3, 0))], 2, 3)
  with pytest.raises(ValueError, match='Example 0 has an empty completion'):
    data.pack([(ids(1), ids())], 2, 3)


@pytest.mark.parametrize('name', ['column_addition', 'random_calculation'])
def test_demonstrations_are_whole_examples_that_end_with_a_trained_end_token(name):
  task = data.get_task(name)
  tokenizer = data.CharTokenizer(task.alphabet)
  batch = data.demonstrations(task, tokenizer, seed=3, step=7, rows=16, width=64)
  assert all(array.shape == (16, 64) for array in batch.values())
  unused = batch['tokens'] < 0
  assert unused.mean() < 0.25
  for field in ('positions', 'segments'):
    np.testing.assert_array_equal(batch[field] < 0, unused)
  for row in range(16):
    numbers = batch['segments'][row]
    assert (np.diff(numbers[numbers >= 0]) >= 0).all()
    for segment in range(numbers.max() + 1):
      where = numbers == segment
      tokens, mask = batch['tokens'][row, where], batch['mask'][row, where]
      np.testing.assert_array_equal(batch['positions'][row, where], np.arange(where.sum()))
      assert tokens[-1] == tokenizer.eos
      assert (tokens[:-1] != tokenizer.eos).all()
      prompt = tokenizer.decode(tokens[mask == 0])
      assert prompt.index('=') == len(prompt) - 1
      completion = tokenizer.decode(tokens[mask == 1])
      assert (np.diff(mask) >= 0).all()
      assert task.extract(completion)
  assert batch['mask'][unused].sum() == 0


def test_a_step_has_one_batch_and_another_step_another():
  task = data.column_addition()
  tokenizer = data.CharTokenizer(task.alphabet)

  def tokens(seed, step):
    return data.demonstrations(task, tokenizer, seed, step, 4, 64)['tokens']

  np.testing.assert_array_equal(tokens(0, 5), tokens(0, 5))
  assert (tokens(0, 5) != tokens(0, 6)).any()
  assert (tokens(0, 5) != tokens(1, 5)).any()


def test_prompts_are_training_problems_of_their_position():
  task = data.column_addition()
  keys = {p.key for p in data.heldout(task, 400)}
  drawn = [data.prompts(task, 0, position, 64) for position in range(20)]
  assert all(len(problems) == 64 for problems in drawn)
  assert drawn[3] == data.prompts(task, 0, 3, 64)
  assert drawn[3] != drawn[4]
  assert drawn[3] != data.prompts(task, 1, 3, 64)
  assert not keys & {p.key for problems in drawn for p in problems}
