"""Scores and preferences by a judge: a function, a rule, or a model that is asked in words.

Judges work on batches, since a model does. They run on the host; a model comes as a function from
texts to texts. What a judge cannot say is counted and takes a value that the caller chooses.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

_MOST_READ = 10000  # characters at the end of a reply
_NUMBER = r'(-?[0-9]{1,6}(?:\.[0-9]{1,6})?)(?: ?/ ?([0-9]{1,6}))?'
_RATINGS = (
  re.compile(rf'\[\[ ?{_NUMBER} ?\]\]', re.ASCII),
  re.compile(
    rf'(?:score|rating)[*_"]* ?(?:is|:|=) ?[*_"]* ?{_NUMBER}(?![0-9]|[./][0-9])',
    re.IGNORECASE | re.ASCII,
  ),
)
_ALONE = re.compile(rf'{_NUMBER}\.?', re.ASCII)
_VERDICTS = (
  re.compile(r'\[\[ ?([ABC]|tie) ?\]\]', re.IGNORECASE),
  re.compile(
    r'(?:verdict|winner|better)[*_"]* ?(?:is|:|=) ?[*_"]* ?([ABC]|tie)(?!\w)', re.IGNORECASE
  ),
)
_VERDICT_ALONE = re.compile(r'([ABC]|tie)\.?', re.IGNORECASE)
_PREFERENCES = {'a': 1.0, 'b': 0.0, 'c': 0.5, 'tie': 0.5}


class Judge(NamedTuple):
  """Functions of batches; an entry of None, or one that is no number in [0, 1], is a failure.

  Attributes:
    rate: `(prompts, completions) -> n scores` in [0, 1]. Rubrics belong into the prompts.
    prefer: `(prompts, firsts, seconds) -> n numbers`, 1 for the first, 0 for the second, 0.5 for a
      tie; asked in one order, so it may favour a place.
  """

  rate: Callable[[Sequence[str], Sequence[str]], Sequence[float | None]]
  prefer: Callable[[Sequence[str], Sequence[str], Sequence[str]], Sequence[float | None]]


def rule_judge(score: Callable[[str, str], float]) -> Judge:
  """A judge that rates by `(prompt, completion) -> float` in [0, 1], and prefers what it rates
  higher.

  An exception of `score` is a failure of that sample.

  >>> judge = rule_judge(lambda prompt, completion: len(completion) / 10)
  >>> judge.prefer(['', ''], ['long', 'a'], ['a', 'b'])
  [1.0, 0.5]
  """

  def rate_one(prompt, completion):
    try:
      return score(prompt, completion)
    except Exception:  # whatever a rule raises on hostile text must not end a run
      return None

  def rate(prompts, completions):
    return [rate_one(*pair) for pair in zip(prompts, completions, strict=True)]

  def prefer(prompts, firsts, seconds):
    pairs = zip(rate(prompts, firsts), rate(prompts, seconds), strict=True)
    pairs = [(_unit(a), _unit(b)) for a, b in pairs]
    return [None if math.isnan(a + b) else 0.5 + 0.5 * ((a > b) - (a < b)) for a, b in pairs]

  return Judge(rate, prefer)


def model_judge(
  generate: Callable[[list[str]], Sequence[str]],
  *,
  rate_template: str,
  prefer_template: str,
  low: float = 0.0,
  high: float = 10.0,
) -> Judge:
  """A judge that asks a model.

  Args:
    generate: `n questions -> n replies`, such as a sampler between a tokenizer's encode and decode.
    rate_template: a question with `{prompt}` and `{completion}`; it should ask for a reply that
      ends with `[[7]]`, see `rating`.
    prefer_template: a question with `{prompt}`, `{first}` and `{second}`; it should ask for a reply
      that ends with `[[A]]`, `[[B]]` or `[[C]]` for a tie, see `preference`.
    low: the rating that means 0.
    high: the rating that means 1.

  An exception of `generate`, or a wrong number of replies, is a failure of the whole batch.
  """
  if not low < high:
    raise ValueError(f'The ratings must have low < high, not {low} and {high}.')

  def ask(questions):
    try:
      replies = list(generate(questions))
    except Exception:  # a model that cannot be reached must not end a run; it is counted
      replies = []
    return replies if len(replies) == len(questions) else [None] * len(questions)

  def rate(prompts, completions):
    pairs = zip(prompts, completions, strict=True)
    questions = [_fill(rate_template, prompt=p, completion=c) for p, c in pairs]
    return [None if r is None else rating(r, low=low, high=high) for r in ask(questions)]

  def prefer(prompts, firsts, seconds):
    triples = zip(prompts, firsts, seconds, strict=True)
    questions = [_fill(prefer_template, prompt=p, first=a, second=b) for p, a, b in triples]
    return [None if r is None else preference(r) for r in ask(questions)]

  return Judge(rate, prefer)


def rating(reply: str, *, low: float = 0.0, high: float = 10.0) -> float | None:
  """The rating in a judge's reply, scaled from [low, high] to [0, 1].

  Read is the last `[[7]]`, else the last `score: 7` or `rating is 7`, else a reply that is nothing
  but a number. A rating out of range is none, and neither is one of another scale (`3/5`).

  >>> rating('Clear. [[7.5]]'), rating('Score: 3/10'), rating('11'), rating('7 of 10 are right')
  (0.75, 0.3, None, None)
  """
  found = _last(reply, _RATINGS, _ALONE)
  if found is None or not low <= float(found[1]) <= high or float(found[2] or high) != high:
    return None
  return (float(found[1]) - low) / (high - low)


def preference(reply: str) -> float | None:
  """The preference in a judge's reply: 1 for A, the first, 0 for B, 0.5 for C or a tie.

  Read is the last `[[A]]`, else the last `verdict: A`, `winner: A` or `better is A`, else a reply
  that is nothing but the letter.

  >>> preference('A is short. [[B]]'), preference('tie'), preference('A or B')
  (0.0, 0.5, None)
  """
  found = _last(reply, _VERDICTS, _VERDICT_ALONE)
  return None if found is None else _PREFERENCES[found[1].lower()]


def rate_columns(
  judge: Judge, prompts: Sequence[str], completions: Sequence[str], *, failure: float = 0.0
) -> dict[str, np.ndarray]:
  """Rates completions.

  Returns:
    float32 arrays `[n]`: `score`, which is `failure` where there is none, and `failed`, 1 there.

  >>> judge = rule_judge(lambda prompt, completion: len(completion) / 4)
  >>> rate_columns(judge, ['q', 'q'], ['abc', 'abcde'])['score'].tolist()
  [0.75, 0.0]
  """
  score = _units(judge.rate, prompts, completions)
  failed = np.isnan(score)
  return _floats(score=np.where(failed, failure, score), failed=failed)


def prefer_columns(
  judge: Judge,
  prompts: Sequence[str],
  firsts: Sequence[str],
  seconds: Sequence[str],
  *,
  failure: float = 0.5,
) -> dict[str, np.ndarray]:
  """Compares pairs in both orders, so that a liking for a place cancels.

  Returns:
    float32 arrays `[n]`: `first`, the mean preference for the first of a pair, which is `failure`
    where one of the orders has none; `consistent`, 1 where both orders prefer the same or call it a
    tie; and `failed`.
  """
  n = len(prompts)
  both = _units(judge.prefer, [*prompts] * 2, [*firsts, *seconds], [*seconds, *firsts])
  forward, backward = both[:n], 1.0 - both[n:]
  failed = np.isnan(forward + backward)
  consistent = np.sign(forward - 0.5) == np.sign(backward - 0.5)
  first = np.where(failed, failure, (forward + backward) / 2)
  return _floats(first=first, consistent=consistent & ~failed, failed=failed)


def pair_scores(
  judge: Judge, prompt: str, completions: Sequence[str], *, failure: float = 0.5
) -> dict[str, np.ndarray]:
  """Compares all completions of a prompt with each other, in both orders.

  Returns:
    float32 arrays `[G, G]`: `scores[i, j]`, the preference for i over j, 0.5 on the diagonal, such
    that `scores[i, j] + scores[j, i] = 1`, except where the comparison failed: there both are
    `failure`, and `failed` is 1.
  """
  size = len(completions)
  i, j = np.triu_indices(size, 1)
  found = prefer_columns(
    judge,
    [prompt] * len(i),
    [completions[k] for k in i.tolist()],
    [completions[k] for k in j.tolist()],
    failure=failure,
  )
  scores, failed = np.full((size, size), 0.5, np.float32), np.zeros((size, size), np.float32)
  scores[i, j] = found['first']
  scores[j, i] = np.where(found['failed'] > 0, failure, 1.0 - found['first'])
  failed[i, j] = failed[j, i] = found['failed']
  return {'scores': scores, 'failed': failed}


def _units(ask: Callable[..., Sequence], *texts: Sequence[str]) -> np.ndarray:
  """float64 `[n]` with NaN for every failure; a judge that raises has failed on the whole batch."""
  n = len(texts[0])
  if any(len(t) != n for t in texts):
    raise ValueError(f'A judge needs lists of one length; got {[len(t) for t in texts]}.')
  try:
    found = list(ask(*texts))
  except Exception:  # whatever a judge raises must not end a run; it is counted
    found = []
  return np.array([_unit(v) for v in found] if len(found) == n else [math.nan] * n, np.float64)


def _unit(value) -> float:
  try:
    number = float(value) if hasattr(value, '__float__') else math.nan
  except Exception:  # such as an array of several numbers
    return math.nan
  return number if 0.0 <= number <= 1.0 else math.nan


def _floats(**columns) -> dict[str, np.ndarray]:
  return {name: np.asarray(column, np.float32) for name, column in columns.items()}


def _fill(template: str, **texts: str) -> str:
  """The template with its fields replaced at once: a text that names a field stays a text."""
  return re.sub(r'\{(\w+)\}', lambda field: texts.get(field[1], field[0]), template)


def _last(reply: str, patterns: Sequence[re.Pattern], alone: re.Pattern) -> re.Match | None:
  end = reply[-_MOST_READ:]
  for pattern in patterns:
    found = list(pattern.finditer(end))
    if found:
      return found[-1]
  return alone.fullmatch(reply.strip()) if len(reply) <= _MOST_READ else None
