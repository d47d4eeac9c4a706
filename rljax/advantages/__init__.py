"""Rewards to advantages: how much more likely each completion or token should become.

Group functions take `[..., G]` and go through `rljax.groups.per_group`; batch functions take
tokens.
"""

from rljax.advantages.a_grae import a_grae as a_grae
from rljax.advantages.a_grae import a_grae_released as a_grae_released
from rljax.advantages.batch import outcome_to_tokens as outcome_to_tokens
from rljax.advantages.batch import reinforce_pp as reinforce_pp
from rljax.advantages.batch import reward_to_go as reward_to_go
from rljax.advantages.batch import whiten as whiten
from rljax.advantages.canon import canon as canon
from rljax.advantages.canon import cosine_mu as cosine_mu
from rljax.advantages.canon import cosine_mu_reversed as cosine_mu_reversed
from rljax.advantages.copo import answer_entropy as answer_entropy
from rljax.advantages.copo import between_groups as between_groups
from rljax.advantages.copo import consistent_success_rate as consistent_success_rate
from rljax.advantages.copo import local_weight as local_weight
from rljax.advantages.copo import success_rate as success_rate
from rljax.advantages.dgpo import dgpo as dgpo
from rljax.advantages.dgpo import difficulty_weights as difficulty_weights
from rljax.advantages.dgpo import over_mean_deviation as over_mean_deviation
from rljax.advantages.dgpo import valid_token_correction as valid_token_correction
from rljax.advantages.group import center as center
from rljax.advantages.group import grpo as grpo
from rljax.advantages.group import raw_if_alone as raw_if_alone
from rljax.advantages.group import rloo as rloo
from rljax.advantages.ngrpo import ngrpo as ngrpo
from rljax.advantages.opo import opo as opo
from rljax.advantages.remax import remax as remax
from rljax.advantages.riskpo import TrackedQuantiles as TrackedQuantiles
from rljax.advantages.riskpo import bundle_scores as bundle_scores
from rljax.advantages.riskpo import deviation_credit as deviation_credit
from rljax.advantages.riskpo import empirical_quantiles as empirical_quantiles
from rljax.advantages.riskpo import quantiles_init as quantiles_init
from rljax.advantages.riskpo import quantiles_update as quantiles_update
from rljax.advantages.riskpo import risk as risk
from rljax.advantages.riskpo import risk_paper as risk_paper
from rljax.advantages.riskpo import risk_two_signed as risk_two_signed
from rljax.advantages.riskpo import share_credit as share_credit
from rljax.advantages.riskpo import uniform_credit as uniform_credit
from rljax.advantages.scale import over_batch_std as over_batch_std
from rljax.advantages.scale import whiten_sequences as whiten_sequences
from rljax.advantages.scale import whiten_tokens as whiten_tokens
