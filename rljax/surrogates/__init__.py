"""Policy losses per token, or per sequence for a `[..., 1]` ratio; `aggregation` weighs them."""

from rljax.surrogates.cispo import cispo as cispo
from rljax.surrogates.clipped import clip_fraction as clip_fraction
from rljax.surrogates.clipped import clipped as clipped
from rljax.surrogates.clipped import dual_clipped as dual_clipped
from rljax.surrogates.discriminative import disco as disco
from rljax.surrogates.discriminative import disco_b as disco_b
from rljax.surrogates.discriminative import drpo as drpo
from rljax.surrogates.discriminative import length_weights as length_weights
from rljax.surrogates.reinforce import reinforce as reinforce
from rljax.surrogates.sapo import sapo as sapo
