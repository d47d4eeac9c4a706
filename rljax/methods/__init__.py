"""Methods of policy optimisation by name, each a composition of functions, and combinators."""

from rljax.methods.combinators import plus as plus
from rljax.methods.combinators import stateless as stateless
from rljax.methods.combinators import together as together
from rljax.methods.combinators import with_keep as with_keep
from rljax.methods.combinators import with_rewards as with_rewards
from rljax.methods.combinators import with_truncated_importance as with_truncated_importance
from rljax.methods.dapo import dapo as dapo
from rljax.methods.grpo import dr_grpo as dr_grpo
from rljax.methods.grpo import grpo as grpo
from rljax.methods.gspo import gspo as gspo
from rljax.methods.ppo import ppo as ppo
from rljax.methods.reinforce import reinforce as reinforce
from rljax.methods.reinforce import rloo as rloo
from rljax.methods.reinforce_pp import reinforce_pp as reinforce_pp
from rljax.methods.terms import entropy_bonus as entropy_bonus
from rljax.methods.terms import kl_to_reference as kl_to_reference
from rljax.methods.terms import policy_terms as policy_terms
from rljax.methods.terms import token_ratio as token_ratio
