"""A run that is stopped on its way and continued."""

import pytest

from experiments.errors import Interrupted
from experiments.journal import Journal
from experiments.train import train


def train_in_two_parts(config, workdir, after):
  """Trains until RL step `after`, as at SIGTERM, and then continues to the end."""
  log, stop = Journal.step, {'now': False}

  def logged(self, phase, number, *args):
    stop['now'] |= (phase, number) == ('rl', after)
    return log(self, phase, number, *args)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(Journal, 'step', logged)
    patch.setattr(Journal, 'interrupted', lambda self: stop['now'])
    patch.setattr('experiments.cli.Interrupts.exit_status', 143)
    with pytest.raises(Interrupted):
      train(config, workdir)
  train(config, workdir, resume='must')
