"""Expressions with three operators and their precedence by GRPO: the harder task.

    python -m experiments.train --config=configs/random_calculation.py
"""

from configs import base


def get_config():
  config = base.get_config()
  base.use_task(config, 'random_calculation')
  return config
