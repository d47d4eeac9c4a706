"""Judging completions by their final answer.

No model output is ever evaluated as code or parsed as an expression: answers are compared as text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
  from rljax.data.task import Problem, Task

_CANONICAL = re.compile(r'(?!-0$)-?(0|[1-9][0-9]*)(\.[0-9]*[1-9])?', re.ASCII)


def exact(answer: str | None, target: str) -> float:
  """1 if `answer` is the canonical decimal text `target`, else 0.

  One number has one text: no leading zeros ('007' is not 7), no plus sign, no zeros at the end of a
  fraction, no '-0', no blanks, ASCII digits only.

  Raises:
    ValueError: `target` itself is not canonical; the task is at fault, not the answer.

  >>> exact('12', '12'), exact('012', '12'), exact(None, '12')
  (1.0, 0.0, 0.0)
  """
  if not _CANONICAL.fullmatch(target):
    raise ValueError(f'The target {target[:80]!r} is not a canonical number such as 12, -3 or 0.5.')
  return float(answer == target)


def is_right(task: Task, problem: Problem, completion: str) -> bool:
  """Whether a finished completion has the right answer: by the task's own `right`, else `exact`."""
  if task.right is not None:
    return bool(task.right(problem, completion))
  return bool(exact(task.extract(completion), problem.answer))


def verify(
  task: Task, problems: Sequence[Problem], completions: Sequence[str], truncated
) -> dict[str, np.ndarray]:
  """Judges one completion per problem.

  Args:
    task: whose `extract`, `score` and `right` are used.
    problems: n problems (for several samples of one prompt, repeat the problem).
    completions: n texts without their end token.
    truncated: `[n]`, true where generation stopped without an end token; such a completion has no
      answer and gets 0.
  Returns:
    float32 arrays `[n]`: `correct` (1 or 0, by `is_right`), `score` (the task's reward in [0, 1]),
    and `failed`, 1 where the task raised an exception or scored outside [0, 1]; `correct` and
    `score` are then 0. Watch the mean of `failed`: it must be 0.
  Raises:
    ValueError: the three do not have the same length.
  """
  truncated = np.asarray(truncated)
  if not len(problems) == len(completions) or truncated.shape != (len(completions),):
    raise ValueError(
      f'verify needs one completion and one truncated flag per problem; got {len(problems)} '
      f'problems, {len(completions)} completions and flags of shape {list(truncated.shape)}.'
    )
  correct, score, failed = np.zeros((3, len(completions)), np.float32)
  for i, (problem, completion) in enumerate(zip(problems, completions, strict=True)):
    if truncated[i]:
      continue
    try:
      right = is_right(task, problem, completion)
      value = float(task.score(problem, completion))
    except Exception:  # whatever a scorer raises on hostile text must not end a run; it is counted
      failed[i] = 1.0
      continue
    if math.isfinite(value) and 0.0 <= value <= 1.0:
      correct[i], score[i] = right, value
    else:
      failed[i] = 1.0
  return {'correct': correct, 'score': score, 'failed': failed}


def canary(task: Task) -> None:
  """Raises unless the task judges a few known completions as it must.

  A verifier that gives 0 to everything trains on noise without a word; call this before every run.
  The right worked solution must be correct with score 1. Unterminated it must score 0, and so must
  the empty completion. The solution of another problem with another answer must be wrong and below
  1.

  Raises:
    RuntimeError: naming the problem, the completion and the judgement.
  """
  problems = task.problems(np.random.default_rng(0), 32, 'train')
  if all(p.answer == problems[0].answer for p in problems):
    raise RuntimeError(f'All problems of {task.name} have the answer {problems[0].answer!r}.')
  for problem in problems[:8]:
    others = [p for p in problems if p.answer != problem.answer]
    # Where problems have many right answers, one of another problem may be among them.
    tried = [p for p in others if task.right is None or not task.right(problem, task.solve(p))]
    if not tried:
      raise RuntimeError(
        f'{task.name} takes the answer of every other problem for that of {problem}.'
      )
    wrong = tried[0]
    completions = [task.solve(problem), task.solve(problem), '', task.solve(wrong)]
    judged = verify(task, [problem] * 4, completions, [False, True, False, False])
    as_expected = (
      judged['correct'].tolist() == [1.0, 0.0, 0.0, 0.0]
      and judged['score'][:3].tolist() == [1.0, 0.0, 0.0]
      and judged['score'][3] < 1.0
      and not judged['failed'].any()
    )
    if not as_expected:
      raise RuntimeError(
        f'The verifier of {task.name} misjudges {problem}: completions {completions} (the second '
        f'one unterminated) give {judged}.'
      )
