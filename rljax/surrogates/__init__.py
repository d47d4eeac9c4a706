"""Policy losses per token, or per sequence for a `[..., 1]` ratio; `aggregation` weighs them."""

from rljax.surrogates.calibrated import calibrated as calibrated
from rljax.surrogates.cispo import cispo as cispo
from rljax.surrogates.clipped import clip_fraction as clip_fraction
from rljax.surrogates.clipped import clipped as clipped
from rljax.surrogates.clipped import dual_clipped as dual_clipped
from rljax.surrogates.discriminative import disco as disco
from rljax.surrogates.discriminative import disco_b as disco_b
from rljax.surrogates.discriminative import drpo as drpo
from rljax.surrogates.discriminative import length_weights as length_weights
from rljax.surrogates.guard import bucket_moments as bucket_moments
from rljax.surrogates.guard import position_bucket as position_bucket
from rljax.surrogates.guard import regulated as regulated
from rljax.surrogates.lp_reg import least_likely as least_likely
from rljax.surrogates.lp_reg import lp_gate as lp_gate
from rljax.surrogates.lp_reg import lp_gate_of_all as lp_gate_of_all
from rljax.surrogates.lp_reg import lp_reg as lp_reg
from rljax.surrogates.lp_reg import lp_reg_of_kl as lp_reg_of_kl
from rljax.surrogates.offline import policy_shift as policy_shift
from rljax.surrogates.reinforce import reinforce as reinforce
from rljax.surrogates.rover import rover as rover
from rljax.surrogates.rover import rover_clipped as rover_clipped
from rljax.surrogates.rover import rover_target as rover_target
from rljax.surrogates.sapo import sapo as sapo
from rljax.surrogates.value import clipped_value as clipped_value
from rljax.surrogates.value import squared_value as squared_value
