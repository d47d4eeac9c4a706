"""Some RL steps with every method, all from one warm start:

    python -m experiments.method_runs --init=RUN [--methods=gspo,dapo]

They are 20 steps of `configs/quickstart.py` (`--config` names another) with one method after the
other, as `configs/method.py` sets it, in one process and without checkpoints and evaluations. Each
leaves a line of JSON in `--out`, and a page with the table of them lies beside it. A method whose
line is there already, of the same configuration, is not run again, so an interrupted command goes
on; one that could not run is tried again.
"""

from __future__ import annotations

import copy
import gc
import json
import math
import pathlib
import shlex
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
from absl import flags
from ml_collections import ConfigDict, config_flags
from rich.table import Table
from rich.text import Text

from configs import method as method_config
from experiments import build, cli, display, processes
from experiments.errors import UserError
from experiments.feeders import make_feeder
from experiments.learner import make_learner
from experiments.rollout import make_policy_sampler
from experiments.run_dir import atomic_write_text, environment, read_json_lines
from experiments.steps import draw, make_learn
from rljax.checkpoints import CheckpointError, MismatchError, find
from rljax.models import lora
from rljax.types import Method

FLAGS = flags.FLAGS
STEPS = 20
WINDOW = 3  # steps at either end of a run, of which the table has means
_CONFIG = 'configs/quickstart.py'
# What methods may set without another sampler: the rest of a configuration is one program's.
_OF_UPDATES = ('steps', 'epochs', 'minibatches', 'microbatches', 'bucket', 'refill', 'optimizer')
_ENDS = {'reward': '.3f', 'entropy': '.3f', 'length': '.1f'}

# `(config, parts, method) -> ` the compiled sampler and the parameters that RL starts from.
Begin = Callable[[ConfigDict, build.Parts, Method], tuple[Any, Any]]


def beginning() -> Begin:
  """A sampler and the warm start's parameters, made once for all configurations that may share
  them."""
  known: dict[str, tuple[Any, Any]] = {}

  def begin(config, parts, method):
    whole = json.loads(config.to_json())
    rl = {name: value for name, value in whole['rl'].items() if name not in _OF_UPDATES}
    rest = {n: value for n, value in whole.items() if n not in ('rl', 'method', 'method_kwargs')}
    key = json.dumps([rl, rest], sort_keys=True)
    if key not in known:
      reference = lora.merge(build.load_params(parts, config.init))
      known[key] = make_policy_sampler(config, parts), reference
    sampler, reference = known[key]
    if method.draws is not None:
      sampler = make_policy_sampler(config, parts, method.draws)
    return sampler, reference

  return begin


def run(
  config: ConfigDict, begin: Begin, watch: Callable[[int, Mapping[str, float]], None]
) -> list[dict[str, float]]:
  """The metrics of each RL step of a configuration, and its `seconds`: those of experiments.train.

  Args:
    config: settled; `init` names the run to start from.
    begin: from `beginning`.
    watch: is told each step and its metrics.

  Raises:
    UserError: the method does not fit the configuration or the loop.
  """
  parts = build.check(config)
  method = build.method(config)
  feed = make_feeder(config, parts, method)
  learner = make_learner(config, parts, method)
  learn = make_learn(config, parts, method, learner, feed)
  sampler, reference = begin(config, parts, method)
  state, key, position = learner.init(reference), jax.random.key(config.seed), 0
  records = []
  for step in range(1, config.rl.steps + 1):
    start = time.perf_counter()
    policy = parts.policy.join(reference, state.params)
    drawn, position, live = draw(
      config,
      parts,
      sampler,
      policy,
      position,
      jax.random.fold_in(key, step),
      state.method_state if method.draws else None,
    )
    state, learnt = learn(state, reference, drawn, key, step)
    records.append(live | learnt.metrics | {'seconds': time.perf_counter() - start})
    watch(step, records[-1])
  return records


def summarise(records: Sequence[Mapping[str, float]]) -> dict[str, Any]:
  """What is kept of a run.

  Args:
    records: the metrics of each step.

  Returns:
    `reward`, `entropy` and `length`: means of the first and of the last `WINDOW` steps, None where
    nobody measured; `seconds`, the median of a step, and `seconds_of_first`, which compiles;
    `grad_norm`, the median; `skipped`, the number of updates left out; `nonfinite`, the names of
    metrics that were not finite in some step.
  """

  def ends(name):
    values = [record[name] for record in records if name in record]
    if not values:
      return None
    return [statistics.fmean(values[:WINDOW]), statistics.fmean(values[-WINDOW:])]

  def median(name):
    return statistics.median(record[name] for record in records)

  names = sorted({name for record in records for name in record})
  return {
    **{name: ends(name) for name in _ENDS},
    'seconds': median('seconds'),
    'seconds_of_first': records[0]['seconds'],
    'grad_norm': median('grad_norm'),
    'skipped': sum(record['skipped'] for record in records),
    'nonfinite': [n for n in names if not all(math.isfinite(r.get(n, 0.0)) for r in records)],
  }


def run_all(
  configs: Mapping[str, ConfigDict], done: Mapping[str, Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
  """A line for each method that has none, as it is found.

  Args:
    configs: by method, settled.
    done: lines by method that are there already.

  Raises:
    CheckpointError, MismatchError: the run to start from is damaged, or of another model.
  """
  begin = beginning()
  for name, config in configs.items():
    about = {'method': name, 'config': cli.config_hash(config)}
    before = done.get(name, {})
    if before.get('config') == about['config'] and 'reason' not in before:
      continue
    try:
      with display.Progress(name, config.rl.steps) as progress:
        found = summarise(run(config, begin, progress.update))
    except (CheckpointError, MismatchError):  # the start of all of them
      raise
    except Exception as error:  # whatever one method stumbles over, the others have their turn
      kind = '' if isinstance(error, ValueError) else f'{type(error).__name__}: '
      found = {'reason': ' '.join(f'{kind}{error}'.split())[:400]}
    gc.collect()  # the programs of this method
    yield about | found


_HEADS = ('method', *_ENDS, 's a step', 'trouble')
_LEFT = ('method', 'trouble')


def cells(line: Mapping[str, Any]) -> list[str]:
  """The row of the table that the line of a method that ran is."""
  ends = [
    ' -> '.join(f'{value:{form}}' for value in line[name]) if line[name] else '-'
    for name, form in _ENDS.items()
  ]
  trouble = [f'{name} not finite' for name in line['nonfinite']]
  trouble += [f'{line["skipped"]:.0f} skipped'] if line['skipped'] else []
  return [line['method'], *ends, f'{line["seconds"]:.2f}', ', '.join(trouble) or 'none']


def show(lines: Sequence[Mapping[str, Any]]) -> None:
  """Prints the table, and why methods did not run."""
  table = Table(title='Methods in the loop, first -> last steps', title_justify='left')
  for head in _HEADS:
    table.add_column(head, justify='left' if head in _LEFT else 'right')
  for line in lines:
    if 'reason' not in line:
      table.add_row(*(Text(cell) for cell in cells(line)))
  display.show(table)
  for line in lines:
    if 'reason' in line:
      display.show(f'{line["method"]} did not run: {line["reason"]}')


_PAGE = """# Methods in the loop

{steps} RL steps of {prompts} prompts x {group_size} completions ({task}) from one warm start, with
each method as `configs/method.py` sets it:

```sh
{command}
```

Reward, entropy (nats a trained token, 0 where none was) and length (tokens) are means of the first
{window} steps -> of the last {window}, seconds the median of all that a step takes, on {device}
({host_cores} cores, JAX {jax}). Trouble would be metrics that were not finite in some step and
updates that were skipped. All have one seed and the learning rate of that configuration: the table
says what runs and where it goes, and ranks nothing.

"""


def page(facts: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> str:
  """The page of the table; `facts` are what its first paragraphs say."""
  rows = [_HEADS, ['---' if head in _LEFT else '---:' for head in _HEADS]]
  rows += [cells(line) for line in lines if 'reason' not in line]
  text = _PAGE.format(window=WINDOW, **facts) + ''.join(f'| {" | ".join(row)} |\n' for row in rows)
  reasons = [f'- `{line["method"]}`: {line["reason"]}\n' for line in lines if 'reason' in line]
  return text + ('\nNot run by this loop:\n\n' + ''.join(reasons) if reasons else '')


def method_runs(
  configs: Mapping[str, ConfigDict], facts: Mapping[str, Any], out: str | pathlib.Path
) -> list[dict[str, Any]]:
  """Runs what has no line in a file yet, and writes the file and its page after each.

  Args:
    configs: by method, settled.
    facts: of the page; lines of another `command` do not belong into the file.
    out: the file; the page lies beside it.

  Returns:
    All lines of the file, by the methods' names.

  Raises:
    UserError: the file holds lines of another command.
  """
  out = pathlib.Path(out)
  lines = {line['method']: line for line in read_json_lines(out)} if out.is_file() else {}
  other = {line['command'] for line in lines.values()} - {facts['command']}
  if other:
    raise UserError(
      f'{out} has lines of `{other.pop()}`. Give the same, or another file with --out.'
    )
  for line in run_all(configs, lines):
    lines[line['method']] = line | {name: facts[name] for name in ('command', 'device', 'jax')}
    if processes.is_first():
      ordered = [lines[name] for name in sorted(lines)]
      out.parent.mkdir(parents=True, exist_ok=True)
      atomic_write_text(out, ''.join(f'{json.dumps(each)}\n' for each in ordered))
      atomic_write_text(out.with_suffix('.md'), page(facts, ordered))
  return [lines[name] for name in sorted(lines)]


def with_methods(
  config: ConfigDict,
  names: Sequence[str],
  *,
  init: str,
  tiny: bool = False,
  overrides: Mapping[str, Any] | None = None,
) -> dict[str, ConfigDict]:
  """The configuration with each of the methods, settled.

  Args:
    config: of the run; its method does not matter.
    names: the methods.
    init: the run to start from.
    tiny: whether its `tiny` sizes count.
    overrides: values by dotted key that win over those of the methods.
  """
  overrides = {'init': init, 'rl.steps': STEPS} | dict(overrides or {})

  def settled(name):
    own = copy.deepcopy(config)
    with own.unlocked():
      method_config.set_method(own, name)
      own.update_from_flattened_dict(overrides)
    return cli.settle(own, tiny=tiny, overrides=overrides)

  return {name: settled(name) for name in names}


def _facts(config: ConfigDict, overrides: Mapping[str, Any]) -> dict[str, Any]:
  """What the page says of a run beside its lines."""
  words = ['python', '-m', 'experiments.method_runs', f'--init={config.init}']
  file = config_flags.get_config_filename(FLAGS['config'])
  words += [f'--config={file}'] if file != _CONFIG else []
  words += ['--tiny'] if FLAGS.tiny else []
  words += [f'--config.{key}={value}' for key, value in overrides.items()]
  rl, here = config.rl, environment()
  return {
    'command': shlex.join(words),
    'task': config.task,
    **{name: rl[name] for name in ('steps', 'prompts', 'group_size')},
    **{name: here[name] for name in ('device', 'host_cores', 'jax')},
  }


def main() -> None:
  """Runs what the flags say."""
  names = method_config.method_names()
  unknown = sorted(set(FLAGS.methods) - set(names))
  if unknown:
    raise UserError(f'There is no {", ".join(unknown)}. Methods: {", ".join(names)}.')
  if not FLAGS.init:
    raise UserError(
      '--init is missing: the run that all methods start from, such as one of '
      f'`python -m experiments.sft --config={_CONFIG}`.'
    )
  find(FLAGS.init)
  overrides = config_flags.get_override_values(FLAGS['config'])
  for key in overrides:
    if key.startswith('method'):
      raise UserError(f'{key} would be that of every method; set it in configs/method.py.')

  def configs(names):
    return with_methods(FLAGS.config, names, init=FLAGS.init, tiny=FLAGS.tiny, overrides=overrides)

  facts = _facts(configs(['grpo'])['grpo'], overrides)
  lines = method_runs(configs(FLAGS.methods or names), facts, FLAGS.out)
  if processes.is_first():
    show(lines)
    display.show(f'The lines are in {FLAGS.out}, the page beside them.')


def run_command() -> None:
  """Command-line entry point."""
  cli.define_flags(_CONFIG, writes=False)
  flags.DEFINE_string('init', None, 'Checkpoint, or directory of a run, to start from.')
  flags.DEFINE_list('methods', [], 'Methods by name; empty: all.')
  flags.DEFINE_string('out', 'docs/method_runs.jsonl', 'File of the lines.')
  cli.main(main)


if __name__ == '__main__':
  run_command()
