"""How a response sounds: phrases of reasoning, and how much it repeats itself."""

from __future__ import annotations

import collections
from collections.abc import Iterable


def repeated_ngram_ratio(text: str, *, n: int = 20) -> float:
  """Different n-grams of words that occur more than once, over the number of places of n-grams.

  0 for fewer than n words.

  Source: calculate_ngram_repetition_ratio of the authors' math_score.py
  (github.com/trestad/Noisy-Rewards-in-Learning-to-Reason).

  >>> repeated_ngram_ratio('a b a b c', n=2)
  0.25
  """
  words = text.split()
  grams = collections.Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
  if not grams:
    return 0.0
  return sum(count > 1 for count in grams.values()) / grams.total()


def rpr_score(
  response: str,
  phrases: Iterable[str],
  *,
  enough: int = 20,
  n: int = 20,
  foreign: str = 'user: ',
) -> float:
  """Reasoning-pattern reward: phrases that occur, less repetition and turns of others; in [0, 1].

  `min(1, occurring / enough)`, less `repeated_ngram_ratio`, less the number of times that `foreign`
  occurs; case does not matter. A phrase counts once, and wherever it stands, also within a word.

  Args:
    response: without its prompt.
    phrases: such as 'wait', 'we know that', 'therefore'; the authors have 40, of up to four words.
    enough: number of phrases for the full reward.
    n: words of the n-grams of which none should occur twice.
    foreign: what begins a turn that the response has no right to write.

  Source: think_reward of the authors' math_score.py
  (github.com/trestad/Noisy-Rewards-in-Learning-to-Reason).

  >>> rpr_score('Wait, we know that 2 + 2 = 4.', ['wait', 'we know that', 'thus'], enough=4)
  0.5
  """
  text = response.lower()
  occurring = sum(phrase.lower() in text for phrase in phrases)
  score = min(1.0, occurring / enough) - repeated_ngram_ratio(text, n=n)
  return max(0.0, score - text.count(foreign.lower()))
