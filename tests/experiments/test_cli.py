"""The command line: which value wins, how mistakes are answered, signals and exit statuses."""

import errno
import os
import pathlib
import signal
import subprocess
import sys

import pytest
from absl import flags
from ml_collections import ConfigDict

from experiments import cli
from experiments.errors import Interrupted, RunError, UserError
from rljax import checkpoints

PARSE_FLAGS = cli.parse_flags
REPOSITORY = pathlib.Path(__file__).parents[2]

CONFIG = """
from ml_collections import ConfigDict

def get_config(method='grpo'):
  if method not in ('grpo', 'dapo'):
    raise ValueError(f'There is no method {method!r}.')
  config = ConfigDict({
    'seed': 0,
    'init': '',
    'method': method,
    'rl': {'steps': 40, 'length': 32, 'rate': 3e-4, 'full': False},
    'eval': {'every': 10, 'problems': 64},
    'checkpoint': {'every': 10},
    'ends': (1, 2),
  })
  config.kwargs = ConfigDict({'buffer': config.rl.get_ref('length') // 4})
  config.tiny = ConfigDict({'rl': {'steps': 4, 'length': 8}, 'eval': {'problems': 2}})
  return config
"""


@pytest.fixture
def parse(tmp_path, monkeypatch):
  """Parses arguments with flags of their own; --config is quick.py unless given."""
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'quick.py').write_text(CONFIG)

  def parse(*arguments, default='quick.py'):
    values = flags.FlagValues()
    cli.define_flags(default, values)
    before = list(sys.argv)
    try:
      assert cli.parse_flags(['program', *arguments], values) == ['program']
    finally:
      assert sys.argv == before
    return values

  return parse


def refused(parse, *arguments, **kwargs):
  with pytest.raises(UserError) as error:
    parse(*arguments, **kwargs)
  return str(error.value)


def test_the_file_alone_without_its_tiny_part(parse):
  values = parse()
  config = cli.resolve_config(values)
  assert config.to_dict() == {
    'seed': 0,
    'init': '',
    'method': 'grpo',
    'rl': {'steps': 40, 'length': 32, 'rate': 3e-4, 'full': False},
    'eval': {'every': 10, 'problems': 64},
    'checkpoint': {'every': 10},
    'ends': (1, 2),
    'kwargs': {'buffer': 8},
  }
  assert config.is_locked
  assert cli.resume(values) == 'auto' and not cli.dry_run(values)
  assert cli.resolve_config(values) == config  # asking twice is harmless


def test_overrides_win_over_tiny_which_wins_over_the_file(parse):
  values = parse('--config.rl.steps=7', '--tiny', '--config.ends=(3,)', '--config.rl.rate=1')
  config = cli.resolve_config(values)
  assert config.rl.to_dict() == {'steps': 7, 'length': 8, 'rate': 1.0, 'full': False}
  assert config.eval.to_dict() == {'every': 10, 'problems': 2}
  assert config.ends == (3,)
  assert config.kwargs.buffer == 2  # follows the tiny length
  assert 'tiny' not in config


def test_references_follow_an_override(parse):
  assert cli.resolve_config(parse('--config.rl.length=100')).kwargs.buffer == 25
  assert cli.resolve_config(parse('--config.rl.length=100', '--tiny')).kwargs.buffer == 25


def test_the_argument_of_a_file_and_the_order_of_flags(parse):
  values = parse('--config.seed=3', '--config', 'quick.py:dapo', '--config.rl.full', default=None)
  config = cli.resolve_config(values)
  assert (config.method, config.seed, config.rl.full) == ('dapo', 3, True)


def test_init_goes_into_the_config(parse):
  assert cli.resolve_config(parse('--init=runs/a')).init == 'runs/a'


def test_what_a_config_does_not_have_is_refused(parse, tmp_path):
  (tmp_path / 'plain.py').write_text(
    'from ml_collections import ConfigDict\ndef get_config():\n  return ConfigDict({"a": 1})\n'
  )
  with pytest.raises(UserError, match='no `tiny` sub-tree'):
    cli.resolve_config(parse('--config=plain.py', '--tiny'))
  with pytest.raises(UserError, match='no key `init`'):
    cli.resolve_config(parse('--config=plain.py', '--init=x'))
  (tmp_path / 'wrong.py').write_text(
    'from ml_collections import ConfigDict\n'
    'def get_config():\n  return ConfigDict({"a": {"b": 1}, "tiny": {"a": {"c": 1}}})\n'
  )
  with pytest.raises(UserError, match=r'sets a\.c, which the configuration does not have'):
    cli.resolve_config(parse('--config=wrong.py', '--tiny'))


@pytest.mark.parametrize(
  ('argument', 'parts'),
  [
    ('--config.rl.stepz=3', ['no key rl.stepz', 'Did you mean rl.steps?', 'checkpoint.every']),
    ('--config.eval.steps=3', ['no key eval.steps', 'Did you mean rl.steps?']),
    ('--config.r.steps=3', ['no key r.steps', 'Did you mean rl.steps?']),
    ('--config.seed.x=3', ['no key seed.x']),
    ('--config.rl.steps=many', ['--config.rl.steps', 'type int, such as 40', "got 'many'"]),
    ('--config.rl.steps=2.5', ['type int', "got '2.5'"]),
    ('--config.rl.rate=fast', ['type float, such as 0.0003', "got 'fast'"]),
    ('--config.rl.full=perhaps', ['type bool', "got 'perhaps'"]),
    ('--config.rl=3', ['rl holds several values', 'rl.steps']),
    ('--config=quick.py:gpro', ['quick.py: There is no method', 'gpro']),
    ('--config=quik.py', ['no configuration file quik.py', 'configs/quickstart.py']),
    ('--config=elsewhere/quickstart.py', ['Did you mean configs/quickstart.py?']),
    ('--config', ['--config needs the path']),
    ('--resume=perhaps', ['--resume=perhaps', 'auto|never|must']),
    ('--tinny', ['tinny', 'Did you mean: tiny']),
    ('--workdir', ['--workdir']),
  ],
)
def test_mistakes_are_answered_with_the_nearest_right_thing(parse, argument, parts):
  message = refused(parse, argument)
  for part in parts:
    assert part in message
  assert 'Traceback' not in message and len(message.splitlines()) == 1


def test_a_fault_within_a_config_file_keeps_its_own_error(parse, tmp_path):
  (tmp_path / 'broken.py').write_text('def get_config():\n  return undefined\n')
  with pytest.raises(NameError, match='undefined'):
    parse('--config=broken.py')


def test_without_any_config_the_known_ones_are_named(parse):
  assert 'configs/quickstart.py' in refused(parse, default=None)


def test_a_path_from_the_repository_is_found_from_anywhere(parse):
  values = parse('--config=configs/quickstart.py', '--tiny')
  assert cli.resolve_config(values).rl.steps < 40


def test_the_default_workdir_names_config_and_result(parse):
  def workdir(*arguments):
    values = parse(*arguments)
    return cli.workdir(cli.resolve_config(values), values)

  plain = workdir()
  assert plain.parent == pathlib.Path('runs')
  assert plain.name.startswith('quick-') and len(plain.name) == len('quick-') + 6
  assert workdir('--config.seed=1') != plain
  assert workdir('--tiny') != plain
  assert workdir('--config.checkpoint.every=1', '--config.eval.every=0') == plain
  assert workdir('--config=quick.py:dapo').name.startswith('quick-dapo-')
  assert workdir('--workdir=/some/where') == pathlib.Path('/some/where')


def test_the_hash_is_stable():
  config = ConfigDict({'b': {'y': (1, 2)}, 'a': 0.1, 'log': {'n': 1}})
  assert cli.config_hash(config) == cli.config_hash(ConfigDict({'a': 0.1, 'b': {'y': (1, 2)}}))
  assert cli.config_hash(config) == 'c24820'


def test_a_command_that_writes_no_run_has_no_flags_for_one(parse, tmp_path):
  values = flags.FlagValues()
  cli.define_flags('quick.py', values, writes=False)
  assert {'workdir', 'resume', 'dry_run', 'init'}.isdisjoint(values)
  cli.parse_flags(['program', '--tiny'], values)
  assert cli.resolve_config(values).rl.steps == 4
  with pytest.raises(UserError, match='workdir'):
    cli.parse_flags(['program', '--workdir=x'], values)


def test_a_checkpoint_on_the_command_line_names_its_config():
  assert cli.config_of_checkpoint(['program', '--tiny']) is None
  for arguments in (['--checkpoint=runs/a'], ['--checkpoint', 'runs/a']):
    assert cli.config_of_checkpoint(['program', *arguments]) == 'configs/of_run.py:runs/a'


def test_settling_a_config_leaves_the_original_alone(parse):
  config = parse().config
  assert cli.settle(config, tiny=True).rl.steps == 4
  assert config.rl.steps == 40 and 'tiny' in config


def test_defining_the_flags_twice_changes_nothing(parse):
  values = parse()
  cli.define_flags('other.py', values)
  assert cli.resolve_config(values).seed == 0


def run_main(monkeypatch, capsys, run, *arguments):
  """Exit status and stderr of a command."""
  values = flags.FlagValues()
  cli.define_flags('quick.py', values)
  monkeypatch.setattr(sys, 'argv', ['program', *arguments])
  monkeypatch.setattr(cli, 'parse_flags', lambda argv: PARSE_FLAGS(argv, values))
  monkeypatch.setattr(
    cli.app, 'run', lambda main, flags_parser: sys.exit(main(flags_parser(sys.argv)))
  )
  with pytest.raises(SystemExit) as exit_:
    cli.main(run)
  return exit_.value.code, capsys.readouterr().err


def raiser(error):
  def run():
    raise error

  return run


@pytest.mark.parametrize(
  'error',
  [
    UserError('No such thing.'),
    RunError('Disk full.'),
    FileNotFoundError('Nothing there.'),
    checkpoints.CheckpointError('All damaged.'),
    checkpoints.MismatchError('Another shape.'),
  ],
)
def test_expected_errors_are_one_message_and_status_2(parse, monkeypatch, capsys, error):
  assert run_main(monkeypatch, capsys, raiser(error)) == (2, f'Error: {error}\n')


def test_a_run_that_a_signal_ended_says_so_and_has_its_status(parse, monkeypatch, capsys):
  run = raiser(Interrupted(143, 'Saved at step 3.'))
  assert run_main(monkeypatch, capsys, run) == (143, 'Saved at step 3.\n')


def test_other_errors_keep_their_traceback(parse, monkeypatch, capsys):
  with pytest.raises(ValueError, match='a fault'):
    run_main(monkeypatch, capsys, raiser(ValueError('a fault')))


def test_statuses_of_main(parse, monkeypatch, capsys):
  assert run_main(monkeypatch, capsys, lambda: None) == (None, '')
  assert run_main(monkeypatch, capsys, lambda: 143) == (143, '')
  assert run_main(monkeypatch, capsys, raiser(KeyboardInterrupt())) == (130, '\nInterrupted.\n')
  status, message = run_main(monkeypatch, capsys, lambda: None, 'rl.steps=3')
  assert status == 2 and "Unexpected argument 'rl.steps=3'" in message
  status, message = run_main(monkeypatch, capsys, lambda: None, '--config.sed=3')
  assert status == 2 and 'Did you mean seed?' in message


def test_a_real_process_says_one_line_and_exits_with_2(tmp_path):
  (tmp_path / 'quick.py').write_text(CONFIG)
  code = 'from experiments import cli; cli.define_flags("quick.py"); cli.main(lambda: None)'
  environment = {**os.environ, 'PYTHONPATH': str(REPOSITORY)}
  done = subprocess.run(
    [sys.executable, '-c', code, '--config.seed=x'],
    capture_output=True,
    text=True,
    cwd=tmp_path,
    env=environment,
    check=False,
  )
  assert done.returncode == 2
  assert done.stderr == (
    "Error: --config.seed needs a value of type int, such as 0, and got 'x'.\n"
  )


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_a_request_and_the_old_handlers_return(number):
  before = signal.getsignal(number)
  with cli.Interrupts() as interrupts:
    assert not interrupts.requested and interrupts.exit_status == 0
    signal.raise_signal(number)
    assert interrupts.requested and interrupts.exit_status == 128 + number
  assert signal.getsignal(number) is before


def test_a_second_interrupt_from_the_keyboard_leaves_at_once():
  with cli.Interrupts() as interrupts, pytest.raises(KeyboardInterrupt):
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGINT)
    assert interrupts.exit_status == 130
    signal.raise_signal(signal.SIGINT)


def test_a_full_disk_anywhere_is_said_in_words(capsys):
  def full():
    raise OSError(errno.ENOSPC, 'No space left on device')

  with pytest.raises(SystemExit) as left:
    cli.guarded(full)
  assert left.value.code == 2
  assert (
    'No space left on device. The last checkpoint of the run is safe' in capsys.readouterr().err
  )
  with pytest.raises(OSError, match='odd'):
    cli.guarded(lambda: (_ for _ in ()).throw(OSError(errno.EIO, 'odd')))
