"""Which completions take part: rewards to `keep`, 1 or 0."""

from rljax.selection.hints import hint_lengths as hint_lengths
from rljax.selection.hints import hint_ratio as hint_ratio
from rljax.selection.mixed import mixed as mixed
from rljax.selection.values import accuracy_value as accuracy_value
from rljax.selection.values import count_copies as count_copies
from rljax.selection.values import refill_by_value as refill_by_value
from rljax.selection.values import task_value as task_value
