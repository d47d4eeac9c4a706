"""How diverse a text is: eight signals in [0, 1], each normalised by the length of the text.

The signals are those that arXiv 2507.20187 (MultiRole-R1) names; what each of them computes is a
reconstruction, as its definitions were not seen.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from rljax.verifiers.segments import sentences

_WORD = re.compile(r"\w+(?:['’]\w+)*")

# Articles, pronouns, prepositions, conjunctions, auxiliaries and particles of English.
_LISTED = (
  'a about above after again against all although am among an and any are as at be because '
  'been before being below between both but by can could did do does doing down during each '
  'either few for from further had has have having he her here hers herself him himself his '
  'how however i if in into is it its itself just may me might more most must my myself '
  'neither no nor not of off on once only or other our ours ourselves out over own same shall '
  'she should since so some such than that the their theirs them themselves then there these '
  'they this those though through to too under unless until up upon very was we were what '
  'when where whether which while who whom whose why will with within without would yet you '
  'your yours yourself yourselves '
)
_FUNCTION_WORDS = frozenset(_LISTED.split())


def diversity_signals(text: str) -> dict[str, float]:
  """The eight signals of a text, each in [0, 1]; their mean is the reward `r_div`.

  - `lexical`: logarithm of the distinct words over that of all words.
  - `token_entropy`: entropy of the words over its largest possible value.
  - `sentence_pattern`: how many sentences differ from all before them in their first two words or
    their last mark, of those after the first.
  - `bigram`: distinct pairs of successive words over all pairs.
  - `sentence_length`: `c / (1 + c)` of the coefficient of variation c of the words a sentence.
  - `adjacent_sentence`: mean of 1 less the Jaccard overlap of the words of successive sentences.
  - `yule`: 1 less Yule's K over 10,000.
  - `function_word`: distinct function words over all function words, English ones.

  Case does not matter. A text of less than two words has 0 throughout, as have the signals of
  sentences where there is one sentence.

  >>> signals = diversity_signals('No one knows. No one asks! We are here.')
  >>> [round(signals[name], 2) for name in ('sentence_pattern', 'bigram', 'adjacent_sentence')]
  [1.0, 0.88, 0.75]
  """
  words = _words(text)
  found = [(_words(s), s.rstrip()[-1:]) for s in sentences(text)]
  spoken = [(ws, mark) for ws, mark in found if ws]
  if len(words) < 2:
    return dict.fromkeys(_SIGNALS, 0.0)
  values = (
    math.log(len(set(words))) / math.log(len(words)),
    _entropy(words),
    _patterns(spoken),
    len(set(itertools.pairwise(words))) / (len(words) - 1),
    _length_variation([len(ws) for ws, _ in spoken]),
    _adjacent([set(ws) for ws, _ in spoken]),
    1 - (sum(n * n for n in Counter(words).values()) - len(words)) / len(words) ** 2,
    _distinct([w for w in words if w in _FUNCTION_WORDS]),
  )
  return dict(zip(_SIGNALS, values, strict=True))


_SIGNALS = (
  'lexical',
  'token_entropy',
  'sentence_pattern',
  'bigram',
  'sentence_length',
  'adjacent_sentence',
  'yule',
  'function_word',
)


def diversity_columns(texts: Sequence[str]) -> dict[str, np.ndarray]:
  """What `shaping.multirole` reads, and what it is made of.

  Args:
    texts: n completions.
  Returns:
    float32 arrays `[n]`: `diversity`, the plain mean of the eight, and each of
    `diversity_signals` by its name.
  """
  rows = [diversity_signals(text) for text in texts]
  columns = {name: np.array([row[name] for row in rows], np.float32) for name in _SIGNALS}
  mean = np.array([sum(row.values()) / len(_SIGNALS) for row in rows], np.float32)
  return {'diversity': mean, **columns}


def _words(text):
  return _WORD.findall(text.lower())


def _entropy(words):
  shares = [n / len(words) for n in Counter(words).values()]
  # Rounding may lead a little out of the range.
  return min(max(-sum(p * math.log(p) for p in shares) / math.log(len(words)), 0.0), 1.0)


def _patterns(spoken):
  kinds = {(*words[:2], mark) for words, mark in spoken}
  return (len(kinds) - 1) / (len(spoken) - 1) if len(spoken) > 1 else 0.0


def _length_variation(lengths):
  if len(lengths) < 2:
    return 0.0
  variation = float(np.std(lengths) / np.mean(lengths))
  return variation / (1 + variation)


def _adjacent(vocabularies):
  pairs = list(itertools.pairwise(vocabularies))
  return sum(1 - len(a & b) / len(a | b) for a, b in pairs) / len(pairs) if pairs else 0.0


def _distinct(words):
  return len(set(words)) / len(words) if words else 0.0
