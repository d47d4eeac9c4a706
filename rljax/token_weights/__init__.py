"""Constant weights of tokens or sequences, multiplied into advantages or into a term's weights."""

from rljax.token_weights.copies import copy_discount as copy_discount
from rljax.token_weights.copies import smoothed_value as smoothed_value
from rljax.token_weights.hints import hint_consistency as hint_consistency
from rljax.token_weights.hints import hint_preservation as hint_preservation
from rljax.token_weights.probability import unlikely as unlikely
