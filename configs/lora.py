"""Column addition by GRPO with a low-rank adapter: 4 % of the parameters are trained.

python -m experiments.train --config=configs/lora.py --config.seed=0
"""

from configs import quickstart


def get_config():
  config = quickstart.get_config()
  config.lora.rank = 2
  config.rl.optimizer.learning_rate = 3e-3
  return config
