"""Constant weights of tokens that multiply the finished loss; no denominator counts them."""

from rljax.token_weights.importance import geometric_importance as geometric_importance
from rljax.token_weights.importance import masked as masked
from rljax.token_weights.importance import normalized_over_sequences as normalized_over_sequences
from rljax.token_weights.importance import normalized_over_tokens as normalized_over_tokens
from rljax.token_weights.importance import sequence_importance as sequence_importance
from rljax.token_weights.importance import token_importance as token_importance
from rljax.token_weights.importance import truncated as truncated
from rljax.token_weights.off_policy import off_policy_mask as off_policy_mask
