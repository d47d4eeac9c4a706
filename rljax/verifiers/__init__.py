"""Text to rewards on the host; NumPy and the standard library only."""

from rljax.verifiers.boxed import boxed as boxed
from rljax.verifiers.boxed import boxed_columns as boxed_columns
from rljax.verifiers.diversity import diversity_columns as diversity_columns
from rljax.verifiers.diversity import diversity_signals as diversity_signals
from rljax.verifiers.exact import canary as canary
from rljax.verifiers.exact import exact as exact
from rljax.verifiers.exact import is_right as is_right
from rljax.verifiers.exact import verify as verify
from rljax.verifiers.expressions import Worth as Worth
from rljax.verifiers.expressions import worth as worth
from rljax.verifiers.numeric import canonical as canonical
from rljax.verifiers.numeric import closeness as closeness
from rljax.verifiers.segments import Segment as Segment
from rljax.verifiers.segments import middle_segments as middle_segments
from rljax.verifiers.segments import next_segments as next_segments
from rljax.verifiers.segments import segment_columns as segment_columns
from rljax.verifiers.segments import sentences as sentences
