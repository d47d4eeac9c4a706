"""Writes the tables of docs/tpu.md: `python docs/tpu_table.py` (needs the extra `tpu-aot`).

Every row is one `python -m experiments.compile --json`, whose report is kept as a line of
docs/tpu.jsonl; a command that has a line there is not run again. A row takes one to six
minutes.
"""

from __future__ import annotations

import json
import pathlib
import shlex
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

HERE = pathlib.Path(__file__).parent
PAGE, REPORTS = HERE / 'tpu.md', HERE / 'tpu.jsonl'
START, END = '<!-- tables: python docs/tpu_table.py -->', '<!-- end of the tables -->'

# Slices by the names they are rented by, prompts of a step with 8 completions each, and the tokens
# of a completion.
SLICES = {
  'v5e-8': ('v5e:2x4', 64, 1024),
  'v5e-32': ('v5e:4x8', 128, 1024),
  'v5e-256': ('v5e:16x16', 512, 1024),
  'v5p-64': ('v5p:2x4x4', 256, 2048),
  'v6e-64': ('v6e:8x8', 256, 2048),
}
_MEMORY = (
  'slice | mesh | rows, tokens | parts | sampler: weights | cache | temporaries | total'
  ' | step: weights, optimizer | temporaries | total | fits in'
)
_TRAFFIC = (
  'slice | sampler: TFLOP | all-gather | all-reduce | others | step: TFLOP | all-gather'
  ' | all-reduce | reduce-scatter | others | compile, s of CPU'
)

# By model and slice: mesh.data, mesh.tensor (fsdp takes what they leave), microbatches, and where
# nothing else would do further values. Few microbatches, as each gathers the weights anew.
ROWS: dict[str, dict[str, tuple]] = {
  'qwen2.5-0.5b': {
    'v5e-8': (1, 1, 4),
    'v5e-32': (1, 1, 2),
    'v5e-256': (2, 1, 1),
    'v5p-64': (1, 1, 2),
    'v6e-64': (1, 1, 2),
  },
  'qwen2.5-1.5b': {
    'v5e-8': (1, 1, 4),
    'v5e-32': (1, 1, 2),
    'v5e-256': (1, 1, 1),
    'v5p-64': (1, 1, 2),
    'v6e-64': (1, 1, 2),
  },
  'qwen2.5-7b': {
    # A microbatch holds whole groups, and one of 8 takes 17.9 GiB.
    'v5e-8': (1, 4, 64, {'rl.prompts': 128, 'rl.group_size': 4}),
    'v5e-32': (1, 4, 8),
    'v5e-256': (1, 4, 4),
    'v5p-64': (1, 1, 4),
    'v6e-64': (1, 2, 8),
  },
}
_DEFAULTS = {('mesh.data', 1), ('mesh.tensor', 1), ('rl.max_new_tokens', 1024)}


def command(model: str, name: str) -> list[str]:
  """The command of a row, as its user would type it."""
  topology, prompts, completion = SLICES[name]
  data, tensor, microbatches, *more = ROWS[model][name]
  values = {'mesh.data': data, 'mesh.tensor': tensor, 'rl.prompts': prompts}
  values |= {'rl.max_new_tokens': completion, 'rl.microbatches': microbatches}
  values |= {'rl.gather_to_sample': True}
  values |= more[0] if more else {}
  return [
    *('python', '-m', 'experiments.compile'),
    f'--config=configs/shapes.py:{model}',
    f'--topology={topology}',
    *(f'--config.{key}={value}' for key, value in values.items() if (key, value) not in _DEFAULTS),
  ]


def report(words: list[str]) -> dict[str, Any]:
  """What the command says, from docs/tpu.jsonl or by running it."""
  shown = shlex.join(words)
  for line in REPORTS.read_text().splitlines() if REPORTS.exists() else []:
    kept = json.loads(line)
    if kept['command'] == shown:
      return kept
  print(shown, flush=True)
  done = subprocess.run(
    [sys.executable, *words[1:], '--json'], cwd=HERE.parent, stdout=subprocess.PIPE, text=True
  )
  if not done.stdout:  # status 1 with a report means that it does not fit
    raise SystemExit(f'{shown} failed with status {done.returncode}.')
  found = {'command': shown} | json.loads(done.stdout)
  with REPORTS.open('a') as file:
    file.write(json.dumps(found) + '\n')
  return found


def tables(model: str) -> Iterator[str]:
  """Lines of one model's part of the page."""
  reports = {name: report(command(model, name)) for name in ROWS[model]}
  yield f'### {model}'
  yield ''
  yield from _table(_MEMORY, [_memory(name, found) for name, found in reports.items()])
  yield ''
  yield from _table(_TRAFFIC, [_traffic(name, found) for name, found in reports.items()])
  yield ''
  for name, found in reports.items():
    for program, each in found['programs'].items():
      if not each['fits']:
        yield f'{name}: the {program} does not fit. {each.get("refused", "See its total.")}'
        yield ''
  yield '```sh'
  yield from (found['command'] for found in reports.values())
  yield '```'
  yield ''


def _memory(name, found):
  sampler, step = found['programs']['sampler'], found['programs']['train step']
  prompt, completion = found['tokens']
  fits = all(program['fits'] for program in found['programs'].values())
  return [
    f'{name} (`{found["topology"]}`)',
    ' x '.join(str(size) for size in found['mesh'].values()),
    f'{found["prompts"]} x {found["rows"] // found["prompts"]}, {prompt} + {completion}',
    str(found['microbatches']),
    _gib(sampler['weights']),
    _gib(sampler['cache']),
    _gib(sampler.get('temporaries')),
    _gib(sampler.get('total')),
    _gib(step['weights'] + step['optimizer']),
    _gib(step.get('temporaries')),
    _gib(step.get('total')),
    f'{sampler["hbm"] / 2**30:.0f}' if fits else f'{sampler["hbm"] / 2**30:.0f}: **no**',
  ]


def _traffic(name, found):
  cells = [name]
  for program, kinds in (
    ('sampler', ['all-gather', 'all-reduce']),
    ('train step', ['all-gather', 'all-reduce', 'reduce-scatter']),
  ):
    each = found['programs'][program]
    sent = each.get('collectives')
    cells.append(f'{each["model_flops"] / 1e12:,.0f}')
    if sent is None:
      cells += ['-'] * (len(kinds) + 1)
      continue
    cells += [_gib(sent.get(kind, {'bytes': 0})['bytes']) for kind in kinds]
    cells.append(_gib(sum(x['bytes'] for kind, x in sent.items() if kind not in kinds)))
  cells.append(
    ' + '.join(f'{program["compile_cpu_seconds"]:.0f}' for program in found['programs'].values())
  )
  return cells


def _gib(count):
  if count is None:
    return '-'
  return f'{count / 2**30:,.2f}' if count < 100 * 2**30 else f'{count / 2**30:,.0f}'


def _table(head, rows):
  yield f'| {head} |'
  yield '|' + '---|' * (head.count('|') + 1)
  yield from (f'| {" | ".join(row)} |' for row in rows)


def main() -> None:
  """Compiles what is missing and writes the tables between the marks of the page."""
  page = PAGE.read_text()
  before, rest = page.split(START)
  after = rest.split(END)[1]
  lines = [line for model in ROWS for line in tables(model)]
  PAGE.write_text('\n'.join([before + START, '', *lines]) + END + after)


if __name__ == '__main__':
  main()
