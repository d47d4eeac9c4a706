"""Rewards for the form of a text, and how much of it repeats itself."""

from __future__ import annotations

import re
from collections.abc import Sequence


def think_format(text: str) -> float:
  """1 for a text that begins with `<think>`, has no second one, and closes it; else 0.

  Source: TRL, rewards/format_rewards.py think_format_reward. What follows `</think>` may be empty,
  and so may the thinking.

  >>> think_format('<think>2 + 3</think>5'), think_format('5'), think_format('<think>2 + 3')
  (1.0, 0.0, 0.0)
  """
  opening = '<think>'
  if not text.startswith(opening):
    return 0.0
  rest = text[len(opening) :]
  return float(opening not in rest and '</think>' in rest)


def tagged_blocks(text: str, tags: Sequence[str]) -> list[tuple[str, str]] | None:
  """The blocks `<tag>...</tag>` of a text that consists of them, in order, as (tag, content).

  None where a tag is missing, nested or out of order, a block is blank, or something other than
  blanks stands outside of all blocks. Tags that are not in `tags` are text.

  >>> tagged_blocks('<think>2 + 3</think> <answer>5</answer>', ['think', 'answer'])
  [('think', '2 + 3'), ('answer', '5')]
  """
  names = '|'.join(re.escape(tag) for tag in tags)
  blocks: list[tuple[str, str]] = []
  open_tag, end = None, 0
  for found in re.finditer(rf'<(/?)({names})>', text):
    between = text[end : found.start()].strip()
    if found[1]:
      if open_tag != found[2] or not between:
        return None
      blocks.append((open_tag, between))
      open_tag = None
    else:
      if open_tag is not None or between:
        return None
      open_tag = found[2]
    end = found.end()
  return None if open_tag is not None or text[end:].strip() else blocks


def tags_format(text: str, tags: Sequence[str] = ('think', 'answer'), *, given: str = '') -> float:
  """1 for a text of exactly one block of each tag, in this order, none blank; else 0.

  Args:
    text: a completion.
    tags: in their order.
    given: what the prompt ends with that belongs to the first block, such as '<think>'.

  Source: arXiv 2506.07468, red_team/utils.py cot_format_check_and_extract, with `given='<think>'`;
  its reward is 2 * this - 1.

  >>> tags_format('2 + 3</think><answer>5</answer>', given='<think>'), tags_format('5')
  (1.0, 0.0)
  """
  blocks = tagged_blocks(given + text, tags)
  return float(blocks is not None and [tag for tag, _ in blocks] == list(tags))


def turns_format(
  text: str,
  tags: Sequence[str] = ('think', 'search', 'information', 'answer'),
  *,
  last: str = 'answer',
) -> float:
  """1 for a text of any number of blocks of these tags, none blank, that ends with its only `last`.

  For texts of several turns with tools. Source: Router-R1, a reconstruction from a description: its
  tags occur in pairs, in order and not empty, and nothing follows the answer.

  >>> turns_format('<think>who?</think><search>x</search><answer>y</answer>')
  1.0
  """
  order = [tag for tag, _ in tagged_blocks(text, tags) or []]
  return float(order.count(last) == 1 and order[-1] == last)


def repeated_ngrams(text: str, n: int = 3) -> float:
  """The fraction of a text's n-grams of words that occurred before, in [0, 1).

  Words are what blanks separate, in lower case. 0 for fewer than n words. As a penalty, multiply it
  with a negative number.

  Source: arXiv 2502.03373 and TRL's get_repetition_penalty_reward: `1 - distinct / total`.

  >>> repeated_ngrams('a b a b a b', n=2), repeated_ngrams('a b c')
  (0.6, 0.0)
  """
  words = text.lower().split()
  total = len(words) - n + 1
  if total < 1:
    return 0.0
  return 1.0 - len(set(zip(*(words[i:] for i in range(n)), strict=False))) / total
