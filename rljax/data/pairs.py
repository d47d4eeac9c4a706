"""Preference pairs from any task: a right completion and a wrong one of the same prompt."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rljax.data.task import Task
from rljax.verifiers.exact import verify


class Pair(NamedTuple):
  """Texts without end tokens.

  Attributes:
    prompt: what both continue.
    chosen: the worked solution, which the verifier calls right.
    rejected: a completion that the verifier calls wrong.
  """

  prompt: str
  chosen: str
  rejected: str


def preference_pairs(
  task: Task, rng: np.random.Generator, n: int, split: str = 'train', *, attempts: int = 8
) -> list[Pair]:
  """`n` pairs of one side of the split.

  What is rejected is a demonstration of the problem with a wrong answer, the kind of mistake that
  the task's warm start teaches; where `attempts` of them are right, as in tasks whose
  demonstrations always are, it is the worked solution of another problem.

  Args:
    task: any task.
    rng: the only source of randomness.
    n: number of pairs.
    split: 'train' or 'heldout'.
    attempts: demonstrations that are drawn for a wrong one.
  Raises:
    ValueError: what `task.problems` raises; a worked solution that is not right; or a problem to
      which every completion that was tried is right.
  """
  problems = task.problems(rng, n, split)
  # Somebody else's solution must be there even for a single pair.
  others = problems if len(problems) > 8 else [*problems, *task.problems(rng, 32, 'train')]

  def judged(problem, text):
    return bool(verify(task, [problem], [text], [False])['correct'][0])

  def wrong(problem):
    for _ in range(attempts):
      text = task.demonstrate(rng, problem)
      if not judged(problem, text):
        return text
    for i in rng.permutation(len(others))[:64]:
      text = task.solve(others[i])
      if not judged(problem, text):
        return text
    raise ValueError(f'{task.name} has no wrong completion for {problem.prompt[:80]!r} at hand.')

  pairs = []
  for problem in problems:
    chosen = task.solve(problem)
    if not judged(problem, chosen):
      raise ValueError(f'{task.name} calls its own solution of {problem.prompt[:80]!r} wrong.')
    pairs.append(Pair(problem.prompt, chosen, wrong(problem)))
  return pairs
