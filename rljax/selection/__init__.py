"""Which completions take part: rewards to `keep`, 1 or 0."""

from rljax.selection.mixed import mixed as mixed
