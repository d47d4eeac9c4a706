"""What a run shows: on a terminal, in a pipe, at 80 columns, with text that looks like markup."""

import io
import math

import pytest
from rich.console import Console

from experiments import display

METRICS = {
  'reward': 0.5,
  'accuracy': 0.25,
  'loss': 0.0,
  'length': 12.0,
  'entropy': 0.8,
  'kl_ref': 0.01,
  'tokens/s': 81234.0,
  'grad_norm': 3.0,
}


class Terminal(io.StringIO):
  def isatty(self):
    return True


class Clock:
  def __init__(self):
    self.now = 0.0

  def __call__(self):
    return self.now


def text(renderable, width=80):
  file = io.StringIO()
  Console(file=file, width=width, markup=False, highlight=False).print(renderable)
  return file.getvalue()


def test_the_live_numbers_fit_a_line_and_leave_out_the_loss_of_rl():
  line = display.live_numbers(METRICS)
  assert line == ('reward 0.500  accuracy 0.250  length 12.0  entropy 0.80  KL 0.010  tok/s 81234')
  assert len(line) <= 80
  assert display.live_numbers({'loss': 1.5, 'token_accuracy': 0.5}) == (
    'loss 1.500  token accuracy 0.500'
  )
  assert display.live_numbers({'reward': math.nan, 'entropy': None}) == 'reward nan'


def test_in_a_pipe_a_line_every_few_seconds_and_at_the_end():
  clock, stream = Clock(), io.StringIO()
  with display.Progress('rl', 20, stream=stream, clock=clock) as progress:
    for step in range(1, 21):
      clock.now = 10.0 + 2.0 * step  # the first step takes 12 s, the others 2
      progress.update(step, METRICS)
  lines = stream.getvalue().splitlines()
  steps = [int(line.split()[1].partition('/')[0]) for line in lines]
  assert steps == [1, 4, 7, 10, 13, 16, 19, 20]
  assert lines[1].startswith('rl 4/20  0:32 left  reward 0.500')
  assert '\x1b' not in stream.getvalue()


def test_time_left_counts_from_where_a_run_is_continued():
  clock, stream = Clock(), io.StringIO()
  progress = display.Progress('rl', 4000, 100, stream=stream, clock=clock)
  for step in (101, 102, 103):
    clock.now += 2.0
    progress.update(step, METRICS)
  clock.now += 4.0
  progress.update(104, METRICS)
  # Steps 101 to 104 took 2, 2 and 4 s after the first.
  assert 'rl 104/4000  2:53:09 left' in stream.getvalue().splitlines()[-1]


def test_on_a_terminal_a_bar_and_the_numbers():
  stream = Terminal()
  with display.Progress('warm start', 2, stream=stream) as progress:
    progress.update(1, {'loss': 2.0})
    progress.update(2, {'loss': 1.0})
  shown = stream.getvalue()
  assert 'warm start 2/2' in shown and 'loss 1.000' in shown and '━' in shown


def test_a_message_within_a_phase_with_no_step_yet():
  stream = io.StringIO()
  with display.Progress('rl', 5, 5, stream=stream) as progress:
    progress.update(5, METRICS)
  assert stream.getvalue().startswith('rl 5/5  time left unknown  reward')


def test_the_table_of_both_ends():
  before = {'greedy_accuracy': 0.25, 'pass@8': 0.75, 'pass@1': 0.2, 'greedy_length': 14.0, 'x': 1}
  after = {'greedy_accuracy': 0.5, 'pass@8': 0.7, 'pass@1': 0.45, 'greedy_length': 12.5}
  lines = text(display.before_after_table(before, after)).splitlines()
  rows = [line.replace('│', '').split() for line in lines if '│' in line]
  assert rows == [
    ['greedy', 'accuracy', '25.0%', '50.0%', '+25.0', 'points'],
    ['pass@1', '20.0%', '45.0%', '+25.0', 'points'],
    ['pass@8', '75.0%', '70.0%', '-5.0', 'points'],
    ['greedy', 'length,', 'tokens', '14.0', '12.5', '-1.5'],
  ]
  assert all(len(line) <= 80 for line in lines)


@pytest.mark.parametrize('width', [40, 80])
def test_samples_are_shown_as_they_are(width):
  sample = {
    'prompt': 'Add [bold]1[/bold] and [2]:\n  1\n+ 2',
    'answer': '3',
    'before': '4 [/red] \x1b[31m:smile:',
    'after': 'x' * 150,
    'before_correct': False,
    'after_correct': True,
  }
  shown = text(display.samples_table([sample, sample]), width)
  for part in ('Add [bold]1', '+ 2', '4 [/red]', ':smile:', 'wrong', 'right'):
    assert part in shown
  assert '\x1b' not in shown
  assert shown.count('x') == 300
  assert all(len(line) <= width for line in shown.splitlines())


def test_samples_without_verdicts_and_with_long_texts():
  sample = {'prompt': 'p', 'answer': 'a', 'before': 'b' * 1000, 'after': 'c'}
  shown = text(display.samples_table([sample], max_chars=50))
  assert shown.count('b') == 50 + 1 and '…' in shown  # and the b of 'before'
  assert 'right' not in shown and 'wrong' not in shown


def test_show_prints_strings_as_they_are(capsys):
  display.show('The run is in runs/[a]/' + 'x' * 100)
  display.show(display.before_after_table({'pass@1': 0.5}, {'pass@1': 1.0}))
  out = capsys.readouterr().out
  assert out.startswith('The run is in runs/[a]/' + 'x' * 100 + '\n')
  assert '+50.0 points' in out and '\x1b' not in out


def test_metrics_are_listed_by_name():
  lines = text(display.metrics_table({'greedy_accuracy': 0.5, 'pass@[8]': 1.0})).splitlines()
  rows = [line.replace('│', '').split() for line in lines if '│' in line]
  assert rows == [['greedy', 'accuracy', '0.5000'], ['pass@[8]', '1.0000']]
