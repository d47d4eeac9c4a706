"""Answers in a box, and the reasoning before them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np


def boxed(text: str) -> tuple[str | None, str]:
  """What the first closed `\\boxed{...}` holds, and the text before it; None and the whole text
  where there is none.

  Braces inside the box nest to any depth.

  Source: arXiv 2502.06773; the authors' extract_answer_and_reasoning finds one level of nesting.

  >>> boxed('so x is \\\\boxed{x^{2}}, done')
  ('x^{2}', 'so x is ')
  >>> boxed('no answer')
  (None, 'no answer')
  """
  opened, closed_at = [], {}
  for i, character in enumerate(text):  # once over the text, however hostile
    if character == '{':
      opened.append(i)
    elif character == '}' and opened:
      closed_at[opened.pop()] = i
  for box in re.finditer(r'\\boxed\{', text):
    end = closed_at.get(box.end() - 1)
    if end is not None:
      return text[box.end() : end], text[: box.start()]
  return None, text


def boxed_columns(
  completions: Sequence[str], targets: Sequence[str], same: Callable[[str, str], bool]
) -> dict[str, np.ndarray]:
  """Judges completions by their box: what `shaping.rlsp` reads.

  Args:
    completions: n texts.
    targets: n right answers.
    same: `(answer, target) -> bool`.
  Returns:
    float32 arrays `[n]`: `correct`, `answered` (1 where there is a box), `characters` of the
    reasoning before it, or of the whole text without one, and `failed`, 1 where `same` raised an
    exception.

  >>> columns = boxed_columns(['3 + 4 \\\\boxed{7}', 'so 8'], ['7', '8'], str.__eq__)
  >>> {name: column.tolist() for name, column in columns.items()}
  {'correct': [1.0, 0.0], 'answered': [1.0, 0.0], 'characters': [6.0, 4.0], 'failed': [0.0, 0.0]}
  """
  correct, answered, characters, failed = np.zeros((4, len(completions)), np.float32)
  for i, (completion, target) in enumerate(zip(completions, targets, strict=True)):
    answer, reasoning = boxed(completion)
    characters[i] = len(reasoning)
    if answer is None:
      continue
    answered[i] = 1.0
    try:
      correct[i] = bool(same(answer, target))
    except Exception:  # whatever a comparison raises on hostile text must not end a run
      failed[i] = 1.0
  return {'correct': correct, 'answered': answered, 'characters': characters, 'failed': failed}
