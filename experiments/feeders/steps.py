"""Steps of a worked solution: where they end, how to ask for the answer, which of them are right.

What a step looks like is known of each task by its name, in `RULES`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from experiments.build import Parts
from experiments.errors import UserError
from experiments.feeders.common import with_extras
from experiments.feeders.rounds import host_batch
from rljax import training
from rljax.data.expressions import PRECEDENCE, evaluate


class Rules(NamedTuple):
  """What is known of the steps of a task.

  Attributes:
    delimiters: characters that end a step.
    ask: what asks for the answer after a step, in the place of its delimiter.
    judge: `(text before, step, answer, correct) -> bool`: whether a step of a right solution is
      right, or one of a wrong solution matches the answer that is given; None: nobody can tell.
  """

  delimiters: str
  ask: str
  judge: Callable[[str, str, str, bool], bool] | None


_COLUMN = re.compile(r'\(?(\d+(?:\+\d+)*)=(\d+)[,;)]')
_EXPRESSION = re.compile(r'\d+|[-+*()]')
_APPLY = {'+': operator.add, '-': operator.sub, '*': operator.mul}


def column(before: str, step: str, answer: str, correct: bool) -> bool:
  """Whether a column's sum ends in the answer's digit, and in a right solution is its sum.

  >>> column('(5+9=14,', '5+9=14,', '1144', False), column('(5+9=14,', '5+9=14,', '1254', True)
  (True, False)
  """
  match = _COLUMN.fullmatch(step)
  if match is None:
    return False
  place = before.rpartition(';')[2].count(',')
  ends = place < len(answer) and answer[-1 - place] == match[2][-1]
  return ends and (not correct or sum(map(int, match[1].split('+'))) == int(match[2]))


def expression(before: str, step: str, answer: str, correct: bool) -> bool:
  """Whether what is left to work out has the value of the answer, right or wrong.

  >>> expression('', '2+12=', '14', True), expression('', '5*4=', '14', True)
  (True, False)
  """
  del before, correct
  tokens = [int(t) if t.isdigit() else t for t in _EXPRESSION.findall(step[:-1])]
  if ''.join(map(str, tokens)) != step[:-1]:
    return False
  try:
    return str(evaluate(tokens, PRECEDENCE, lambda a, sign, b: _APPLY[sign](a, b))) == answer
  except (IndexError, KeyError, TypeError, ValueError):  # what the policy wrote is no expression
    return False


RULES = {
  'column_addition': Rules(',;)', ')', column),
  'random_calculation': Rules('=', '=', expression),
  'random_calculation_latex': Rules('=;', ';\\boxed{', None),
}


def rules_of(parts: Parts) -> Rules:
  """The rules of a run's task; UserError where there are none."""
  if parts.task.name not in RULES:
    raise UserError(
      f'Nothing is known of the steps of {parts.task.name}; tasks with steps: '
      f'{", ".join(sorted(RULES))}.'
    )
  return RULES[parts.task.name]


def ends_of_steps(parts: Parts, delimiters: str, completion: np.ndarray, most: int) -> np.ndarray:
  """bool `[..., T]`: the tokens that end one of the first `most` steps of a completion."""
  texts = [word.decode(errors='replace') for word in parts.tokenizer.words()]
  table = np.array([text[-1:] in tuple(delimiters) for text in texts])
  known = (completion >= 0) & (completion < len(table))
  ends = known & table[np.where(known, completion, 0)]
  return ends & (np.cumsum(ends, axis=-1) <= most)


def step_numbers(ends: np.ndarray) -> np.ndarray:
  """The step of each token, int32 `[..., T]`; after the last end the number of ends."""
  return (np.cumsum(ends, axis=-1) - ends).astype(np.int32)


def labels(config: ConfigDict, parts: Parts):
  """Fills `labels` `[P, G, S]`, `num_steps` and `step_id`: see `methods.tp_grpo`.

  The judge is a rule of the task. What stands after the last delimiter, the answer, is a step as
  well. There are at most `feed.steps.most` steps; the last of them then holds all that follows.

  Raises:
    UserError: there is no judge for the task's steps.
  """
  rules, most = rules_of(parts), config.feed.steps.most
  if rules.judge is None:
    raise UserError(f'There is no judge for the steps of {parts.task.name}; choose another task.')

  def feed(rollout, params, key):
    del params, key
    (completion,) = host_batch(rollout, 'completion')
    correct = training.sharding.to_local_rows(rollout.batch.extras['correct'])
    ends = ends_of_steps(parts, rules.delimiters, completion, most - 1)
    found = np.zeros((*correct.shape, most), np.float32)
    for (p, g), right in np.ndenumerate(correct):
      ids = completion[p, g]
      answer = parts.task.extract(parts.tokenizer.decode(ids)) or ''
      start = 0
      for number, end in enumerate(np.flatnonzero(ends[p, g])):
        before, step = (parts.tokenizer.decode(x) for x in (ids[:start], ids[start : end + 1]))
        found[p, g, number] = rules.judge(before, step, answer, right > 0)
        start = end + 1
    extras = {'labels': found, 'num_steps': 1 + ends.sum(-1), 'step_id': step_numbers(ends)}
    return with_extras(parts, rollout, extras)

  return feed
