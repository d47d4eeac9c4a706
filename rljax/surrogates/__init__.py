"""Policy losses per token, or per sequence for a `[..., 1]` ratio; `aggregation` weighs them."""

from rljax.surrogates.clipped import clip_fraction as clip_fraction
from rljax.surrogates.clipped import clipped as clipped
from rljax.surrogates.clipped import dual_clipped as dual_clipped
from rljax.surrogates.reinforce import reinforce as reinforce
from rljax.surrogates.value import clipped_value as clipped_value
from rljax.surrogates.value import squared_value as squared_value
