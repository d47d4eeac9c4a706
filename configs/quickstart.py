"""Column addition by GRPO: under two minutes on two CPU cores.

python -m experiments.train --config=configs/quickstart.py --config.seed=0

Measured with JAX 0.10.2 on 2 CPU cores, seeds 0-4, 512 held-out problems: greedy accuracy 0.34 ->
0.965-1.000, pass@1 0.55-0.57 -> 0.934-0.988, in 1:37-1:48 minutes.
"""

from configs import base


def get_config():
  config = base.get_config()
  config.task_kwargs.p_right = 0.38  # of the demonstrations; the others forget the carry
  config.method_kwargs.clip_high = 0.28
  return config
