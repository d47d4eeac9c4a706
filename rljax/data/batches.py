"""Text to arrays: packed rows for learning from demonstrations, padded prompts for sampling.

Every batch is a function of the task, a seed and a position, so a run that is resumed sees the data
that it would have seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from rljax.data.task import Problem, Task
from rljax.data.tokenizer import Tokenizer

# Second entry of the seed sequences below: streams with different entries are independent.
DEMONSTRATIONS, PROMPTS, HELDOUT = 1, 2, 3


def pad_prompts(encoded: Sequence[np.ndarray], width: int | None = None) -> np.ndarray:
  """Prompts as int32 `[P, 1, Tp]`, left-padded with -1.

  Args:
    encoded: P vectors of ids, none of them empty.
    width: Tp; None means the longest prompt.
  Raises:
    ValueError: no prompts, an empty prompt, or one longer than `width`.
  """
  if not len(encoded):
    raise ValueError('There are no prompts to pad.')
  lengths = [len(ids) for ids in encoded]
  if not min(lengths):
    raise ValueError(f'Prompt {lengths.index(0)} is empty; a model needs a token to start from.')
  width = max(lengths) if width is None else width
  if max(lengths) > width:
    raise ValueError(
      f'Prompt {lengths.index(max(lengths))} has {max(lengths)} tokens, the width is {width}.'
    )
  prompts = np.full((len(encoded), 1, width), -1, np.int32)
  for row, ids in zip(prompts[:, 0], encoded, strict=True):
    row[width - len(ids) :] = ids
  return prompts


def pack(
  pairs: Iterable[tuple[np.ndarray, np.ndarray]], rows: int, width: int
) -> tuple[dict[str, np.ndarray], int]:
  """Packs examples, in order, each into the first row that has room for it.

  Packing ends with the first example that fits nowhere, so an endless iterator may be given.

  Args:
    pairs: (prompt ids, completion ids); the completion includes the end token.
    rows: number of rows of the result, always exactly this many.
    width: tokens in a row.
  Returns:
    A dict of arrays `[rows, width]`, and the number of examples used. `tokens` int32, -1 where
    unused; `positions` int32, from 0 in every example, -1 where unused; `segments` int32, the
    number of the example within its row, -1 where unused; `mask` float32, 1 on the tokens to be
    predicted (those of completions, where they stand), else 0.
  Raises:
    ValueError: an example is longer than a row, or its completion is empty.
  """
  tokens, positions, segments = np.full((3, rows, width), -1, np.int32)
  mask = np.zeros((rows, width), np.float32)
  filled, count, used = [0] * rows, [0] * rows, 0
  places = np.arange(width, dtype=np.int32)
  for prompt, completion in pairs:
    split, size = len(prompt), len(prompt) + len(completion)
    if size > width:
      raise ValueError(f'Example {used} has {size} tokens, a row has {width}; widen the rows.')
    if split == size:
      raise ValueError(f'Example {used} has an empty completion; it needs at least an end token.')
    row = next((r for r in range(rows) if filled[r] + size <= width), None)
    if row is None:
      break
    start = filled[row]
    middle, stop = start + split, start + size
    tokens[row, start:middle] = prompt
    tokens[row, middle:stop] = completion
    positions[row, start:stop] = places[:size]
    segments[row, start:stop] = count[row]
    mask[row, middle:stop] = 1.0
    filled[row], count[row], used = stop, count[row] + 1, used + 1
  return {'tokens': tokens, 'positions': positions, 'segments': segments, 'mask': mask}, used


def demonstrations(
  task: Task, tokenizer: Tokenizer, seed: int, step: int, rows: int, width: int
) -> dict[str, np.ndarray]:
  """The packed batch of demonstrations of one step; arrays as in `pack`.

  The example that ends the packing is dropped, so long examples are very slightly rarer than drawn.
  """
  rng = np.random.default_rng([seed, DEMONSTRATIONS, step])
  return pack(_examples(task, tokenizer, rng, 2 * rows), rows, width)[0]


def prompts(task: Task, seed: int, position: int, n: int) -> list[Problem]:
  """The `n` training problems at one position of a run."""
  return task.problems(np.random.default_rng([seed, PROMPTS, position]), n, 'train')


def heldout(task: Task, n: int) -> list[Problem]:
  """The evaluation problems: `n` distinct ones, the same for every run."""
  return task.problems(np.random.default_rng([0, HELDOUT, 0]), n, 'heldout')


def _examples(
  task: Task, tokenizer: Tokenizer, rng: np.random.Generator, chunk: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  end = np.array([tokenizer.eos], np.int32)
  while True:
    for problem in task.problems(rng, chunk, 'train'):
      completion = tokenizer.encode(task.demonstrate(rng, problem))
      yield tokenizer.encode_prompt(problem.prompt), np.concatenate([completion, end])
