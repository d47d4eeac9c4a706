"""Rewards to advantages: how much more likely each completion or token should become.

Group functions take `[..., G]` and go through `rljax.groups.per_group`; batch functions take
tokens.
"""

from rljax.advantages.batch import outcome_to_tokens as outcome_to_tokens
from rljax.advantages.batch import reinforce_pp as reinforce_pp
from rljax.advantages.batch import reward_to_go as reward_to_go
from rljax.advantages.batch import whiten as whiten
from rljax.advantages.gae import gae as gae
from rljax.advantages.group import center as center
from rljax.advantages.group import grpo as grpo
from rljax.advantages.group import rloo as rloo
