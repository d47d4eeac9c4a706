"""Plots of a run: which files come of which metrics, and what the lines show."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from experiments import plots
from experiments.errors import UserError
from experiments.logs import MetricsLog


def write(workdir, records):
  log = MetricsLog(workdir)
  for phase, step, metrics in records:
    log.write(phase, step, metrics)
  log.close()


def rl(step, **more):
  metrics = {'reward': step / 10, 'accuracy': step / 20, 'length': 8.0, 'entropy': 1.0}
  metrics |= {'kl_ref': 0.1, 'grad_norm': 1.0, 'seconds/sample': 1.0, 'seconds/update': 0.5}
  return 'rl', step, metrics | more


def names(paths):
  return [path.name for path in paths]


def test_a_whole_run_gives_every_figure_and_the_overview(tmp_path):
  records = [('warm_start', n, {'loss': 1.0 / n}) for n in range(1, 5)]
  records += [rl(n) for n in range(1, 4)]
  records += [('eval', n, {'greedy_accuracy': 0.5, 'pass@8': 0.9, 'pass@1': 0.4}) for n in (0, 3)]
  write(tmp_path, records)
  written = plots.plot_run(tmp_path)
  assert names(written) == [
    'reward.png',
    'accuracy.png',
    'length.png',
    'entropy.png',
    'kl.png',
    'grad_norm.png',
    'timing.png',
    'warm_start.png',
    'overview.png',
  ]
  assert sorted(path.name for path in (tmp_path / 'plots').iterdir()) == sorted(names(written))
  for path in written:
    assert np.ptp(imread(path)[..., 0]) > 0.5  # not blank


def test_what_was_not_recorded_is_left_out(tmp_path):
  assert plots.plot_run(tmp_path) == []
  write(tmp_path, [('rl', 1, {'reward': 1.0, 'entropy': float('nan')})])
  assert names(plots.plot_run(tmp_path)) == ['reward.png', 'overview.png']


def drawn(name, records):
  """The axes of one panel."""
  metrics = {}
  for phase, step, values in records:
    metrics.setdefault(phase, []).append({'phase': phase, 'step': step, **values})
  panel = next(panel for panel in plots._PANELS if panel.name == name)
  axes = Figure().add_subplot()
  assert plots._fill(axes, panel, metrics)
  return axes


def test_a_line_goes_through_the_records_with_gaps_for_null():
  axes = drawn('reward', [rl(1), rl(2, reward=None), rl(4)])
  (line,) = axes.lines
  np.testing.assert_array_equal(line.get_xdata(), [1, 2, 4])
  np.testing.assert_array_equal(line.get_ydata(), [0.1, np.nan, 0.4])
  assert axes.get_title(loc='left') == 'Reward' and axes.get_xlabel() == 'RL step'


def test_a_long_line_is_drawn_pale_under_its_running_mean():
  values = np.random.default_rng(0).normal(size=200)
  axes = drawn('reward', [rl(n, reward=value) for n, value in enumerate(values)])
  raw, mean = axes.lines
  np.testing.assert_array_equal(raw.get_ydata(), values)
  assert mean.get_label() == 'mean of 10 steps'
  for n in (50, 120):
    assert mean.get_ydata()[n] == pytest.approx(values[n - 5 : n + 5].mean())
  assert mean.get_ydata()[0] == pytest.approx(values[:5].mean())


def test_accuracy_has_the_rollouts_and_the_evaluations_on_one_scale():
  records = [rl(1), rl(2), ('eval', 0, {'greedy_accuracy': 0.3, 'pass@16': 0.9, 'pass@8': 0.8})]
  axes = drawn('accuracy', records)
  labels = [line.get_label() for line in axes.lines]
  assert labels == [
    'training prompts, sampled',
    'held out, greedy',
    'held out, pass@8',
    'held out, pass@16',
  ]
  assert axes.lines[2].get_linestyle() == 'None'
  assert axes.get_ylim() == pytest.approx((-0.03, 1.03))


def test_times_are_stacked_and_a_compiling_step_does_not_flatten_the_others():
  records = [rl(n, **{'seconds/sample': 100.0 if n == 1 else 1.0}) for n in range(1, 21)]
  records[4][2]['seconds/evaluate'] = 2.0
  axes = drawn('timing', records)
  heights = np.zeros(20)
  for bars in axes.containers:
    np.testing.assert_allclose([bar.get_y() for bar in bars], heights)
    heights += [bar.get_height() for bar in bars]
  expected = np.full(20, 1.5)
  expected[0], expected[4] = 100.5, 3.5
  np.testing.assert_allclose(heights, expected)
  assert 1.5 < axes.get_ylim()[1] < 10
  assert [text.get_text() for text in axes.texts] == ['highest: 100 s']


def test_many_steps_become_means_over_bars():
  axes = drawn('timing', [rl(n) for n in range(1, 361)])
  assert [len(bars) for bars in axes.containers] == [120, 120]
  assert axes.texts[0].get_text() == 'bars: means of 3 steps'


def test_the_command_prints_files_or_says_what_is_missing(tmp_path, capsys):
  with pytest.raises(UserError, match='Give one run directory'):
    plots.main(['plots'])
  with pytest.raises(UserError, match=r'looked for metrics\.jsonl'):
    plots.main(['plots', str(tmp_path)])
  write(tmp_path, [rl(1)])
  plots.main(['plots', str(tmp_path)])
  assert str(tmp_path / 'plots' / 'overview.png') in capsys.readouterr().out
