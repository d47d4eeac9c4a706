"""Rewards to advantages: how much more likely each completion or token should become.

Group functions take `[..., G]` and go through `rljax.groups.per_group`; batch functions take
tokens.
"""

from rljax.advantages.batch import outcome_to_tokens as outcome_to_tokens
from rljax.advantages.batch import reinforce_pp as reinforce_pp
from rljax.advantages.batch import reward_to_go as reward_to_go
from rljax.advantages.batch import whiten as whiten
from rljax.advantages.group import center as center
from rljax.advantages.group import grpo as grpo
from rljax.advantages.group import rloo as rloo
from rljax.advantages.hints import adhint as adhint
from rljax.advantages.potentials import potential_gain as potential_gain
from rljax.advantages.potentials import probe_accuracy as probe_accuracy
from rljax.advantages.potentials import probe_confidence as probe_confidence
from rljax.advantages.potentials import saturation as saturation
from rljax.advantages.potentials import spae as spae
from rljax.advantages.potentials import step_potential as step_potential
from rljax.advantages.segments import cut_points as cut_points
from rljax.advantages.segments import cut_positions as cut_positions
from rljax.advantages.segments import place_values as place_values
from rljax.advantages.segments import spo_chain as spo_chain
from rljax.advantages.segments import step_ids as step_ids
from rljax.advantages.segments import to_tokens as to_tokens
from rljax.advantages.segments import whiten_unlikely as whiten_unlikely
from rljax.advantages.steps import contexts as contexts
from rljax.advantages.steps import every_step as every_step
from rljax.advantages.steps import gigpo as gigpo
from rljax.advantages.steps import gigpo_scaled as gigpo_scaled
from rljax.advantages.steps import hgpo as hgpo
from rljax.advantages.steps import hgpo_centered as hgpo_centered
from rljax.advantages.steps import step_returns as step_returns
from rljax.advantages.steps import trajectory_starts as trajectory_starts
from rljax.advantages.thoughts import tp_grpo as tp_grpo
from rljax.advantages.tree import spo_tree as spo_tree
from rljax.advantages.tree import spo_tree_scaled as spo_tree_scaled
from rljax.advantages.tree import tree_deviations as tree_deviations
from rljax.advantages.tree import tree_values as tree_values
