"""Which completions take part: rewards to `keep`, 1 or 0."""

from rljax.selection.critical import branch_points as branch_points
from rljax.selection.critical import critical_tokens as critical_tokens
from rljax.selection.critical import critical_words as critical_words
from rljax.selection.max_variance import max_variance as max_variance
from rljax.selection.mixed import mixed as mixed
