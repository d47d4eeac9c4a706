"""Losses on sequence scores of preferred and dispreferred completions, one value a pair."""

from rljax.preference.pairs import dpo as dpo
