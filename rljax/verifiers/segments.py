"""Texts as problems: predict a sentence from those around it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

_END = re.compile(r'(?<=[.!?])\s+')


class Segment(NamedTuple):
  """A sentence to predict.

  Attributes:
    before: the text before it.
    after: the sentence after it, that is shown as well; None where it is not (ASR).
    reference: the text from the sentence on, of which a prediction has to be a beginning; for MSR
      the sentence itself.
  """

  before: str
  after: str | None
  reference: str


def sentences(text: str) -> list[str]:
  """The sentences of a text: it is cut at blanks after '.', '!' and '?'.

  >>> sentences('One. Two!  Is it 3.5? Yes')
  ['One.', 'Two!', 'Is it 3.5?', 'Yes']
  """
  return [s for s in _END.split(text.strip()) if s]


def next_segments(text: str) -> list[Segment]:
  """ASR: every sentence but the first, from all that precedes it.

  Source: arXiv 2509.19249; how the authors cut sentences is not known.
  """
  found = sentences(text)
  return [Segment(' '.join(found[:i]), None, ' '.join(found[i:])) for i in range(1, len(found))]


def middle_segments(text: str) -> list[Segment]:
  """MSR: every sentence but the first and the last, from all that precedes it and the next one.

  Source: arXiv 2509.19249.
  """
  found = sentences(text)
  return [Segment(' '.join(found[:i]), found[i + 1], found[i]) for i in range(1, len(found) - 1)]


def segment_columns(
  predictions: Sequence[str | None],
  segments: Sequence[Segment],
  judge: Callable[[str, str], bool],
) -> dict[str, np.ndarray]:
  """Judges predicted segments: what `shaping.rlpt` reads.

  Args:
    predictions: n segments taken from completions; None or blank where none could be extracted.
    segments: n sentences that were to be predicted.
    judge: `(prediction, reference) -> bool`, whether the one is a valid beginning of the other; in
      the paper a generative reward model.
  Returns:
    float32 arrays `[n]`: `valid` (1 or 0), `middle` (1 on MSR samples), and `failed`, 1 where the
    judge raised an exception; `valid` is then 0.
  """
  valid, middle, failed = np.zeros((3, len(predictions)), np.float32)
  for i, (prediction, segment) in enumerate(zip(predictions, segments, strict=True)):
    middle[i] = segment.after is not None
    if prediction is None or not prediction.strip():
      continue
    try:
      valid[i] = bool(judge(prediction, segment.reference))
    except Exception:  # a judge that fails on one text must not end a run; it is counted
      failed[i] = 1.0
  return {'valid': valid, 'middle': middle, 'failed': failed}
