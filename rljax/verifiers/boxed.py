"""Answers in a box, and the reasoning before them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from rljax.verifiers.equality import same_answer

_BOX = re.compile(r'(\\++)((?:boxed|fbox)(?![A-Za-z]))?|[{}]')
_BLANKS = re.compile(r'\s*+')
_BARE = re.compile(r'[ \t]++((?:[^$\n\\]|\\(?!boxed|fbox))++)')


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


def last_boxed(text: str) -> str | None:
  r"""What the last box of a text holds, without the blanks around it.

  A box is `\boxed{...}` with braces nested to any depth, where `\{` and `\}` are none, or
  `\boxed x`, which ends at the next `$` or the line's end. `\fbox` counts in a text without
  `\boxed`. Linear in the text.

  Returns:
    None where there is no box, or the last one never closes: what a text that was cut off would
    have said is unknown. Of a box within a box, the inner one.

  >>> last_boxed('\\boxed{1}, no: \\boxed{x^{2}}'), last_boxed('$\\boxed 5$'), last_boxed('5')
  ('x^{2}', '5', None)
  """
  found = _boxes(text)
  return found[-1] if found else None


def all_boxed(text: str) -> list[str]:
  r"""What each closed box of a text holds, in the order of their beginnings; see `last_boxed`.

  A box that holds boxes counts as those alone.

  >>> all_boxed('\\boxed{1} or \\boxed{ \\boxed{2} } or \\boxed{3')
  ['1', '2']
  """
  return [content for content in _boxes(text) if content is not None]


def one_boxed(text: str, same: Callable[[str, str], bool] = same_answer) -> str | None:
  r"""The last box of a text if all of its boxes say the same: several answers are no answer.

  Args:
    text: a completion.
    same: `(answer, last answer) -> bool`.
  Returns:
    None where there is no box, where two differ, and where one is blank or never closes.

  >>> one_boxed('\\boxed{0.5}, so \\boxed{1/2}'), one_boxed('\\boxed{1} or \\boxed{2}')
  ('1/2', None)
  """
  found = _boxes(text)
  if not found or not all(found):
    return None
  last, *others = dict.fromkeys(reversed(found))
  return last if all(same(other, last) for other in others) else None


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


def _boxes(text: str) -> list[str | None]:
  """What the innermost boxes of one kind hold, None for one that never closes, in one pass."""
  first = text.find('\\boxed')
  kind = 'boxed' if first >= 0 else 'fbox'
  first = first if first >= 0 else text.find('\\fbox')
  if first < 0:
    return []
  starts: list[int] = []  # where the box's content starts and ends; -1 while it is open
  ends: list[int] = []
  opened: list[int] = []  # for each open brace the box that it opens, -1 for none
  braced: dict[int, int] = {}  # where a box's opening brace stands
  escaped = -1
  for token in _BOX.finditer(text, first):
    at, end = token.span()
    if token[1] is None:  # a brace
      if at == escaped:
        continue
      if text[at] == '{':
        opened.append(braced.pop(at, -1))
        if opened[-1] >= 0:
          starts[opened[-1]] = end
      elif opened and (box := opened.pop()) >= 0:
        ends[box] = at
    elif token[2] == kind:
      there = _BLANKS.match(text, end).end()
      starts.append(end)
      ends.append(-1)
      if text[there : there + 1] == '{':
        braced[there] = len(starts) - 1
      elif bare := _BARE.match(text, end):
        ends[-1] = bare.end()
    elif not token[2]:
      escaped = end if len(token[1]) % 2 else -1
  # A box that ends after the next one starts is around it. Only the others are cut out of the text,
  # which keeps this linear for boxes within boxes.
  spans = zip(starts, ends, [*starts[1:], len(text) + 1], strict=False)
  return [
    None if end < 0 else text[start:end].strip() for start, end, after in spans if end < after
  ]
