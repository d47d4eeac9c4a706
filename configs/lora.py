"""Column addition by GRPO with a low-rank adapter: RL trains 8,192 of 299,648 parameters.

python -m experiments.train --config=configs/lora.py --config.seed=0

Measured with JAX 0.10.2 on CPU, seed 0, 512 held-out problems: greedy accuracy 0.340 -> 0.996,
pass@1 0.573 -> 0.973; the quickstart, which trains all parameters, ends at 0.998 and 0.983.
"""

from configs import quickstart


def get_config():
  config = quickstart.get_config()
  config.lora.rank = 2
  config.rl.optimizer.learning_rate = 3e-3
  return config
