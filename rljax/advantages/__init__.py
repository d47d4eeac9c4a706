"""Rewards to advantages: how much more likely each completion or token should become.

Group functions take `[..., G]` and go through `rljax.groups.per_group`; batch functions take
tokens.
"""

from rljax.advantages.asymmetric import dads as dads
from rljax.advantages.asymmetric import stcr as stcr
from rljax.advantages.batch import outcome_to_tokens as outcome_to_tokens
from rljax.advantages.batch import reinforce_pp as reinforce_pp
from rljax.advantages.batch import reward_to_go as reward_to_go
from rljax.advantages.batch import whiten as whiten
from rljax.advantages.data_weights import CategoryMeans as CategoryMeans
from rljax.advantages.data_weights import category_mean as category_mean
from rljax.advantages.data_weights import clause_similarity as clause_similarity
from rljax.advantages.data_weights import init_category_means as init_category_means
from rljax.advantages.data_weights import sigmoid_ratio as sigmoid_ratio
from rljax.advantages.data_weights import update_category_means as update_category_means
from rljax.advantages.effective_rank import RankMeans as RankMeans
from rljax.advantages.effective_rank import effective_rank as effective_rank
from rljax.advantages.effective_rank import init_rank_means as init_rank_means
from rljax.advantages.effective_rank import rank_bonus as rank_bonus
from rljax.advantages.effective_rank import rank_dynamics as rank_dynamics
from rljax.advantages.effective_rank import update_rank_means as update_rank_means
from rljax.advantages.grao import grao as grao
from rljax.advantages.grao import grao_joint as grao_joint
from rljax.advantages.grao import grao_weights as grao_weights
from rljax.advantages.group import center as center
from rljax.advantages.group import grpo as grpo
from rljax.advantages.group import rloo as rloo
from rljax.advantages.group_weights import adora_amplified as adora_amplified
from rljax.advantages.group_weights import adora_language as adora_language
from rljax.advantages.group_weights import adora_vision as adora_vision
from rljax.advantages.group_weights import exp_difficulty as exp_difficulty
from rljax.advantages.group_weights import log_difficulty as log_difficulty
from rljax.advantages.group_weights import power_difficulty as power_difficulty
from rljax.advantages.group_weights import uncertainty_weight as uncertainty_weight
from rljax.advantages.hapo import hapo as hapo
from rljax.advantages.likelihood import bounded_bonus as bounded_bonus
from rljax.advantages.likelihood import confidence as confidence
from rljax.advantages.likelihood import novelty as novelty
from rljax.advantages.likelihood import progrpo as progrpo
from rljax.advantages.likelihood import sharpen as sharpen
from rljax.advantages.rover import rover as rover
