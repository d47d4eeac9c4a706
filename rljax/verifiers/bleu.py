"""Answers in words against a reference, also very short ones."""

from __future__ import annotations

import collections
import math


def length_aware_bleu(answer: str, reference: str) -> float:
  """BLEU of n-grams up to 4 words, or up to the reference's length where that is less; in [0, 1].

  Plain BLEU-4 gives 0 to every answer to a reference of three words. Words are what stands between
  blanks; the geometric mean of the clipped precisions, without smoothing, times the brevity
  penalty. An answer without words, or against a reference without any, gets 0.

  Source: a reconstruction for the short answers of arXiv 2512.07478.

  >>> length_aware_bleu('Paris', 'Paris'), length_aware_bleu('in Paris', 'Paris')
  (1.0, 0.5)
  """
  words, wanted = answer.split(), reference.split()
  if not words or not wanted:
    return 0.0
  order = min(4, len(wanted))
  logs = 0.0
  for n in range(1, order + 1):
    found, known = _ngrams(words, n), _ngrams(wanted, n)
    shared = (found & known).total()
    if not shared:
      return 0.0
    logs += math.log(shared / found.total())
  brevity = min(0.0, 1 - len(wanted) / len(words))
  return math.exp(brevity + logs / order)


def _ngrams(words, n):
  return collections.Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
