"""The program in a completion."""

from __future__ import annotations

import re

_FENCE = re.compile(r' {0,3}(`{3,}|~{3,})(.*)')


def code_block(completion: str) -> str | None:
  """What is inside the last closed fence (``` or ~~~) of a completion; None where there is none.

  >>> code_block('First\\n```python\\nx = 1\\n```\\nbetter:\\n```py\\nx = 2\\n```\\nDone.')
  'x = 2\\n'
  >>> code_block('no code') is None
  True
  """
  found = fence = None
  lines: list[str] = []
  for line in completion.splitlines(keepends=True):
    mark = _FENCE.match(line)
    if fence is None:
      # Behind backticks that open a block there are none on the same line.
      if mark and not (mark[1][0] == '`' and '`' in mark[2]):
        fence, lines = mark[1], []
    elif mark and mark[1].startswith(fence) and not mark[2].strip():
      found, fence = ''.join(lines), None
    else:
      lines.append(line)
  return found
