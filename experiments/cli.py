"""Command lines of the experiments: flags, configurations, signals, errors in words.

A command calls `define_flags` when it is imported, runs under `main`, and reads what it was given
with `resolve_config`, `workdir`, `resume` and `dry_run`.
"""

from __future__ import annotations

import copy
import difflib
import errno
import hashlib
import importlib.util
import itertools
import json
import os
import pathlib
import re
import runpy
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from experiments import processes
from experiments.errors import Interrupted, RunError, UserError
from experiments.run_dir import flatten, free_to_change
from rljax.checkpoints import CheckpointError, MismatchError

# What a user can do something about; everything else is a fault of ours and shows its traceback.
_EXPECTED = (UserError, RunError, CheckpointError, MismatchError, FileNotFoundError)


def define_flags(
  default_config: str | None = None, flag_values=flags.FLAGS, *, writes: bool = True
) -> None:
  """Defines --config and --tiny, and for a command that writes a run --workdir and its like.

  A further call, by another command that the same process imports, changes nothing.

  Args:
    default_config: path of the configuration file if --config is not given.
    flag_values: where the flags are kept.
    writes: whether to define --workdir, --resume, --dry_run and --init.
  """
  if 'config' in flag_values:
    return
  flags.DEFINE_string(
    'default_config', default_config, 'Used without --config.', flag_values=flag_values
  )
  config_flags.DEFINE_config_file(
    'config',
    None,
    f'Configuration file, perhaps with an argument as in file.py:argument; by default '
    f'{default_config}. Any of its values can be overridden, as in --config.rl.steps=80.',
    flag_values=flag_values,
    lock_config=True,
  )
  flags.DEFINE_bool(
    'tiny', False, 'Shrink every size, for a run of a minute.', flag_values=flag_values
  )
  processes.define_flags(flag_values)
  if not writes:
    return
  flags.DEFINE_string(
    'workdir', None, 'Directory of the run; by default runs/<name>-<hash>.', flag_values=flag_values
  )
  flags.DEFINE_enum(
    'resume',
    'auto',
    ['auto', 'never', 'must'],
    'auto: continue the run in the directory if there is one; never: insist on a new run; must: '
    'insist on an old one.',
    flag_values=flag_values,
  )
  flags.DEFINE_bool(
    'dry_run', False, 'Check and describe the run, without running it.', flag_values=flag_values
  )
  flags.DEFINE_string(
    'init', None, 'Checkpoint, or directory of a run, to start from.', flag_values=flag_values
  )


def define_checkpoint_flags() -> None:
  """Defines --checkpoint, whose run gives the configuration unless --config names another."""
  flags.DEFINE_string('checkpoint', None, 'A run, its checkpoints folder, or one step.')
  define_flags(config_of_checkpoint(sys.argv), writes=False)


def main(run: Callable[[], int | None]) -> None:
  """Parses sys.argv, calls `run` and exits with the status that it returns (None: 0).

  Errors that a user can do something about are printed without a traceback and exit with status 2,
  an interrupt from the keyboard with 130.
  """

  def parse(argv: Sequence[str]) -> list[str]:
    return guarded(lambda: parse_flags(argv))

  def call(rest: Sequence[str]) -> int | None:
    if rest[1:]:
      return _report(UserError(f'Unexpected argument {rest[1]!r}; options look like --name=value.'))
    if not flags.FLAGS['verbosity'].present:
      logging.set_verbosity(logging.WARNING)
    _keep_compiled_programs()
    return guarded(lambda: _connected(run))

  app.run(call, flags_parser=parse)


def _connected(run: Callable[[], int | None]) -> int | None:
  values = flags.FLAGS
  if 'coordinator' in values:
    processes.connect(values.coordinator, values.num_processes, values.process_id)
  return run()


def _keep_compiled_programs() -> None:
  """Turns on JAX's persistent compilation cache, in ~/.cache/rljax unless JAX was told a place.

  Programs that compile in less than half a second are not worth a file.
  """
  if getattr(jax.config, 'jax_compilation_cache_dir') is None:  # noqa: B009, mypy knows no options
    home = pathlib.Path(os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache')
    jax.config.update('jax_compilation_cache_dir', str(home / 'rljax' / 'xla'))
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.5)


def guarded(function):
  """What a function returns; an error that a user can mend is printed and ends the process."""
  try:
    return function()
  except _EXPECTED as error:
    sys.exit(_report(error))
  except OSError as error:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
      raise
    sys.exit(
      _report(
        RunError(
          f'{error.strerror}. The last checkpoint of the run is safe: free the disk, then run the '
          'same command again.'
        )
      )
    )
  except Interrupted as interrupted:
    print(interrupted, file=sys.stderr)
    sys.exit(interrupted.exit_status)
  except KeyboardInterrupt:
    print('\nInterrupted.', file=sys.stderr)
    sys.exit(128 + signal.SIGINT)


def parse_flags(argv: Sequence[str], flag_values=flags.FLAGS) -> list[str]:
  """Parses a command line, program name first, and returns what is no flag.

  Raises:
    UserError: there is no such flag, file or key, or a value has the wrong type.
  """
  if 'config' not in flag_values:  # a command without a configuration
    try:
      return flag_values(list(argv))
    except flags.Error as error:
      raise UserError(str(error)) from error
  argv = _with_config_file(list(argv), flag_values)
  seen = sys.argv
  sys.argv = argv  # where config_flags looks for overrides
  try:
    rest = flag_values(argv)
    flag_values.config.is_locked  # noqa: B018, a file that failed to load says so on the first access
    return rest
  except (flags.Error, AttributeError, KeyError, OSError, TypeError, ValueError) as error:
    _explain(argv, error)
    raise
  finally:
    sys.argv = seen


def resolve_config(flag_values=flags.FLAGS) -> ConfigDict:
  """The configuration of the command line: file, then --tiny, then overrides; locked.

  --init goes to `init`.
  """
  overrides = config_flags.get_override_values(flag_values['config'])
  config = settle(flag_values.config, tiny=flag_values.tiny, overrides=overrides)
  if 'init' in flag_values and flag_values.init is not None:
    if 'init' not in config:
      raise UserError('This configuration has no key `init`, so --init means nothing for it.')
    config.init = flag_values.init
  return config


def settle(
  config: ConfigDict, *, tiny: bool = False, overrides: Mapping[str, Any] | None = None
) -> ConfigDict:
  """What a configuration file gives as a run takes it: locked, references resolved, no `tiny`.

  Args:
    config: may have a sub-tree `tiny` of the same structure as the rest.
    tiny: whether the values of that sub-tree take the others' places.
    overrides: values by dotted key that win over those of `tiny`.

  Raises:
    UserError: the sub-tree is missing, or names what the configuration does not have.
  """
  config = copy.deepcopy(config)
  with config.unlocked():
    small = config.get('tiny', ConfigDict())
    if 'tiny' in config:
      del config.tiny
  if tiny:
    if not small:
      raise UserError('This configuration has no `tiny` sub-tree, so --tiny does nothing for it.')
    _merge(config, small)
    kept = {key: value for key, value in (overrides or {}).items() if not key.startswith('tiny.')}
    config.update_from_flattened_dict(kept)
  return config.copy_and_resolve_references().lock()


def config_of_checkpoint(argv: Sequence[str]) -> str | None:
  """The configuration of the run whose checkpoint a command line names, as a value for --config."""
  names = [text.partition('=')[2] for text in argv if re.match(r'--?checkpoint=', text)]
  names += [b for a, b in itertools.pairwise(argv) if a in ('--checkpoint', '-checkpoint')]
  return f'configs/of_run.py:{names[-1]}' if names else None


def workdir(config: ConfigDict, flag_values=flags.FLAGS) -> pathlib.Path:
  """--workdir, or the default for this configuration."""
  if flag_values.workdir is not None:
    return pathlib.Path(flag_values.workdir)
  return default_workdir(config_flags.get_config_filename(flag_values['config']), config)


def resume(flag_values=flags.FLAGS) -> str:
  """--resume: 'auto', 'never' or 'must'."""
  return flag_values.resume


def dry_run(flag_values=flags.FLAGS) -> bool:
  """Whether --dry_run was given."""
  return flag_values.dry_run


def default_workdir(config_path: str, config: ConfigDict) -> pathlib.Path:
  """`runs/<name>-<hash>`: equal for equal results, different for different ones."""
  path, _, argument = config_path.partition(':')
  name = '-'.join(filter(None, [pathlib.Path(path).stem, argument]))
  name = re.sub(r'[^\w.-]+', '-', name)
  return pathlib.Path('runs') / f'{name}-{config_hash(config)}'


def config_hash(config: ConfigDict) -> str:
  """Six hexadecimal digits of everything in a configuration that changes a result."""
  leaves = flatten(json.loads(config.to_json()))
  leaves = {key: value for key, value in leaves.items() if not free_to_change(key)}
  return hashlib.sha256(json.dumps(leaves, sort_keys=True).encode()).hexdigest()[:6]


class Interrupts:
  """Turns SIGTERM and SIGINT into a question that a loop asks; a context manager.

  The loop finishes its step, saves, and leaves with `exit_status`. A second SIGINT raises
  KeyboardInterrupt at once. Does nothing outside the main thread, where signals cannot be caught.
  """

  def __init__(self):
    self._signal: int | None = None
    self._previous: dict[int, Any] = {}

  @property
  def requested(self) -> bool:
    """Whether to save and leave."""
    return self._signal is not None

  @property
  def exit_status(self) -> int:
    """128 and the number of the signal; 0 without one."""
    return 0 if self._signal is None else 128 + self._signal

  def __enter__(self) -> Interrupts:
    if threading.current_thread() is threading.main_thread():
      for number in (signal.SIGTERM, signal.SIGINT):
        self._previous[number] = signal.signal(number, self._handle)
    return self

  def __exit__(self, kind, error, traceback) -> None:
    for number, handler in self._previous.items():
      signal.signal(number, handler)
    self._previous.clear()

  def _handle(self, number: int, frame) -> None:
    if number == signal.SIGINT and self._signal == signal.SIGINT:
      raise KeyboardInterrupt
    if self._signal is None or number == signal.SIGINT:
      self._signal = number


def _report(error: BaseException) -> int:
  print(f'Error: {error}', file=sys.stderr)
  return 2


def _with_config_file(argv: list[str], flag_values) -> list[str]:
  """The command line with --config first and its file found."""
  rest, given = [argv[0]], flag_values['default_config'].default
  arguments = iter(argv[1:])
  for argument in arguments:
    if argument == '--':
      rest += [argument, *arguments]
    elif argument in ('--config', '-config'):
      given = next(arguments, None)
      if given is None:
        raise UserError('--config needs the path of a configuration file.')
    elif re.match(r'--?config=', argument):
      given = argument.partition('=')[2]
    else:
      rest.append(argument)
  if given is None:
    if {'--help', '-help', '--helpshort', '--helpfull', '-h', '-?'} & set(rest):
      return rest
    raise UserError(f'--config is missing. Configurations: {", ".join(_known_configs())}.')
  return [rest[0], f'--config={_find(given)}', *rest[1:]]


def _find(given: str) -> str:
  """The path of a configuration file: from here, else beside the installed `configs` package."""
  path, colon, argument = given.partition(':')
  for root in (pathlib.Path(), *(folder.parent for folder in _config_folders())):
    if (root / path).is_file():
      return str(root / path) + colon + argument
  known = _known_configs()
  near = difflib.get_close_matches(path, known, 1, 0.5)
  near = near or [name for name in known if pathlib.Path(name).stem == pathlib.Path(path).stem]
  hint = f'Did you mean {near[0]}? ' if near else ''
  raise UserError(
    f'There is no configuration file {path}. {hint}Configurations: {", ".join(known)}.'
  )


def _config_folders() -> list[pathlib.Path]:
  spec = importlib.util.find_spec('configs')
  places = spec.submodule_search_locations if spec is not None else None
  return [pathlib.Path(place) for place in places or ()]


def _known_configs() -> list[str]:
  files = {file.name for folder in _config_folders() for file in folder.glob('*.py')}
  return [f'configs/{name}' for name in sorted(files - {'__init__.py', 'base.py', 'of_run.py'})]


def _explain(argv: Sequence[str], error: Exception) -> None:
  """Raises a UserError that says what is wrong with a command line, if that is its fault."""
  path, _, argument = argv[1].partition('=')[2].partition(':')
  get_config = runpy.run_path(path)['get_config']
  try:
    config = get_config(*([argument] if argument else []))
  except ValueError as reason:
    raise UserError(f'{path}: {reason}') from error
  for text in argv[2:]:
    match = re.match(r'--?(?:no)?config\.([^=]+)(?:=(.*))?$', text, re.DOTALL)
    if match:
      _check_override(config, match[1], match[2])
  if isinstance(error, flags.Error):
    raise UserError(str(error)) from error


def _check_override(config: ConfigDict, key: str, value: str | None) -> None:
  leaves = flatten(config.to_dict())
  inner = {'.'.join(name.split('.')[:n]) for name in leaves for n in range(1, name.count('.') + 1)}
  if key not in leaves and key not in inner:
    last = key.split('.')[-1]
    near = [name for name in leaves if name.split('.')[-1] == last]
    near = near or difflib.get_close_matches(key, leaves, 1)
    near = near or [n for n in leaves if difflib.get_close_matches(last, [n.split('.')[-1]], 1)]
    hint = f' Did you mean {near[0]}?' if near else ''
    raise UserError(f'The configuration has no key {key}.{hint} Keys: {", ".join(leaves)}.')
  if value is None:
    return
  if key in inner:
    below = [name for name in leaves if name.startswith(f'{key}.')]
    raise UserError(f'{key} holds several values; set one of them: {", ".join(below)}.')
  expected = type(leaves[key])
  parsers: dict[type, flags.ArgumentParser] = {
    bool: flags.BooleanParser(),
    int: flags.IntegerParser(),
    float: flags.FloatParser(),
  }
  parser = parsers.get(expected)
  try:
    if parser is not None:
      parser.parse(value)
  except ValueError as error:
    raise UserError(
      f'--config.{key} needs a value of type {expected.__name__}, such as {leaves[key]!r}, and got '
      f'{value!r}.'
    ) from error


def _merge(config: ConfigDict, changes: ConfigDict, prefix: str = '') -> None:
  """Puts the leaves of `changes` in their places; assignment keeps references alive."""
  for name in changes:
    if name not in config:
      raise UserError(
        f'The `tiny` sub-tree sets {prefix}{name}, which the configuration does not have.'
      )
    if isinstance(changes[name], ConfigDict):
      _merge(config[name], changes[name], f'{prefix}{name}.')
    else:
      config[name] = changes[name]
