"""How much each of several rewards counts, and what remembers it from step to step.

All numbers are per reward, `[K]`; a stateful part is a `Controller`.
"""

from rljax.reward_weights.gradients import gradient_influence as gradient_influence
from rljax.reward_weights.gradients import gradient_weights as gradient_weights
from rljax.reward_weights.gradients import reweigh as reweigh
from rljax.reward_weights.hypervolume import hypervolume as hypervolume
from rljax.reward_weights.hypervolume import hypervolume_gain as hypervolume_gain
from rljax.reward_weights.hypervolume import hypervolume_multiplier as hypervolume_multiplier
from rljax.reward_weights.trend import dw_grpo as dw_grpo
from rljax.reward_weights.trend import slope as slope
from rljax.reward_weights.trend import trend_weights as trend_weights
