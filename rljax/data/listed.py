"""Problems that are a list: where each belongs, and draws from it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from rljax.data.task import SPLITS, Problem, is_heldout


def question_key(question: str) -> str:
  """What two spellings of a question share: its words in lower case, without marks and blanks.

  >>> question_key('How many  apples?') == question_key('how many apples')
  True
  """
  text = unicodedata.normalize('NFKC', question).casefold()
  words = ' '.join(re.findall(r'\w+', text))
  return words or ' '.join(text.split())


def listed(
  problems: Iterable[Problem],
) -> Callable[[np.random.Generator, int, str], list[Problem]]:
  """`Task.problems` of a list: 'train' draws with replacement, 'heldout' without.

  A problem's key says on which side it is, so that those with equal keys are on one, and held-out
  prompts are distinct.
  """
  sides: dict[str, list[Problem]] = {split: [] for split in SPLITS}
  for problem in problems:
    sides['heldout' if is_heldout(problem.key) else 'train'].append(problem)
  sides['heldout'] = list({p.prompt: p for p in sides['heldout']}.values())

  def draw(rng, n, split):
    if split not in SPLITS:
      raise ValueError(f'Unknown split {split!r}; the splits are {list(SPLITS)}.')
    if n < 0:
      raise ValueError(f'The number of problems must not be negative; it is {n}.')
    side, heldout = sides[split], split == 'heldout'
    if n > len(side) and (heldout or not side):
      raise ValueError(
        f'{n} {"distinct " if heldout else ""}{split} problems were asked for, and there are '
        f'{len(side)}; ask for fewer or give more data.'
      )
    chosen = rng.choice(len(side), n, replace=not heldout) if n else []
    return [side[i] for i in chosen]

  return draw


def with_prompt(template: str, question: str) -> str:
  """The template with the question in the place of its `@`."""
  if template.count('@') != 1:
    raise ValueError(f'prompt must hold one @, where the question stands; it is {template!r}.')
  return template.replace('@', question)


def characters(texts: Sequence[str]) -> str:
  """The alphabet of some texts, in order."""
  return ''.join(sorted(set().union(*texts)))
