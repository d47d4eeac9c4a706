"""The configuration of a run that is there already:
`--config=configs/of_run.py:runs/quickstart-1a2b3c`.

The path may also be the run's checkpoints folder or one of its steps.
"""

import pathlib

from experiments.errors import UserError
from experiments.run_dir import load_config


def get_config(path=''):
  absolute = pathlib.Path(path).absolute()
  for folder in (absolute, *absolute.parents[:2]):
    if (folder / 'config.json').is_file():
      return load_config(folder)
  raise UserError(
    f'{path} belongs to no run: there is no config.json in it or in the two folders above. Check '
    'the path, or name a configuration with --config.'
  )
