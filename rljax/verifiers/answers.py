"""Where the answer stands in a text: after `####`, in tags, after the thinking, as one letter.

Every function is linear in the text and gives None where there is no answer. The answer is all that
stands there; a target is never searched for in a text. Boxes are in `boxed`.
"""

from __future__ import annotations

import re

_HASHES = re.compile(
  r'####[ \t]*+\$?([-\u2212\u2013]?'
  r'(?:(?:[0-9]{1,3}(?:,[0-9]{3})++(?![0-9])|[0-9]++)(?:\.[0-9]++)?|\.[0-9]++))'
  r'(?![,.]?[0-9]|[/^]|[eE][+-]?[0-9])',
  re.ASCII,
)
_LEAD = re.compile(
  r'(?:the |my )?(?:final |correct |right |best )?(?:answer|option|choice)'
  r'(?: is)?[:=]? ?(?:option |choice )?',
  re.IGNORECASE,
)
_LETTER = re.compile(
  r'[(\[{]{0,2}([A-Za-z])[)\]}]{0,2}(?:(?<=[)\]}])|[.:,)]|(?= ?$)| [-\u2013] )(.*)', re.DOTALL
)
_MINUSES = '-\u2212\u2013'
_MOST_CHARACTERS = 2000  # of a text that names an option


def gsm8k_answer(text: str) -> str | None:
  """The last number after `####`, without the commas between its thousands and its final dot.

  A dollar sign before it is dropped, and whatever follows it. Commas elsewhere make no number.

  >>> gsm8k_answer('#### 3, no: #### $1,234.'), gsm8k_answer('#### five'), gsm8k_answer('5')
  ('1234', None, None)
  """
  numbers = [found[1] for found in _HASHES.finditer(text)]
  if not numbers:
    return None
  last = numbers[-1].replace(',', '')
  return '-' + last[1:] if last[0] in _MINUSES else last


def tagged(text: str, tag: str = 'answer') -> str | None:
  """What `<tag>...</tag>` holds if the text has exactly one of each, without blanks around it.

  >>> tagged('so <answer> 5 </answer>'), tagged('<answer>5</answer> <answer>6</answer>')
  ('5', None)
  """
  opening, closing = f'<{tag}>', f'</{tag}>'
  if text.count(opening) != 1 or text.count(closing) != 1:
    return None
  return last_tagged(text, tag)


def last_tagged(text: str, tag: str = 'answer') -> str | None:
  """What the last closed `<tag>...</tag>` holds, without blanks around it.

  >>> last_tagged('<answer>5</answer> no <answer>6</answer> <answer>')
  '6'
  """
  opening, closing = f'<{tag}>', f'</{tag}>'
  start = text.rfind(opening, 0, max(text.rfind(closing), 0))
  return None if start < 0 else text[start + len(opening) : text.find(closing, start)].strip()


def after_thinking(text: str) -> str | None:
  """The text after the last `</think>`; None where the thinking never ends.

  >>> after_thinking('<think>5?</think>6'), after_thinking('<think>5?')
  ('6', None)
  """
  _, found, rest = text.rpartition('</think>')
  return rest if found else None


def choice(answer: str | None, letters: str = 'ABCD') -> str | None:
  r"""The one option that an extracted answer names, as a capital letter.

  Read are `B`, `(b)`, `\\text{B}`, `**B**`, `B. its text`, `answer: B` and the like. An answer that
  names two options, as in 'A or B' or 'A, B', names none. So does one whose further text holds
  another option's letter on its own ('B. A dog'), and a letter that is a word ('A dog').

  Args:
    answer: an extracted answer or the last line of a text; None gives None.
    letters: of the options.

  >>> choice('(B)'), choice('The answer is C.'), choice('A or B'), choice('Bob')
  ('B', 'C', None, None)
  """
  if answer is None or len(answer) > _MOST_CHARACTERS:
    return None
  text = re.sub(r'\\(?:text|textbf|mathrm|mathbf)(?![A-Za-z])|[*$`]', '', answer)
  text = ' '.join(text.split())
  lead = _LEAD.match(text)
  found = _LETTER.fullmatch(text[lead.end() if lead else 0 :])
  if not found or found[1].upper() not in letters:
    return None
  options = ''.join(sorted(set(letters) | set('ABCDEFGH')))
  if re.search(rf"(?<![A-Za-z'])[{re.escape(options)}](?![A-Za-z'])", found[2]):
    return None
  return found[1].upper()
