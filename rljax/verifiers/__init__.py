"""Text to rewards on the host; NumPy and the standard library only."""

from rljax.verifiers.boxed import boxed as boxed
from rljax.verifiers.boxed import boxed_columns as boxed_columns
from rljax.verifiers.code import Result as Result
from rljax.verifiers.code import code_canary as code_canary
from rljax.verifiers.code import run_program as run_program
from rljax.verifiers.code import run_programs as run_programs
from rljax.verifiers.code_block import code_block as code_block
from rljax.verifiers.exact import canary as canary
from rljax.verifiers.exact import exact as exact
from rljax.verifiers.exact import verify as verify
from rljax.verifiers.numeric import canonical as canonical
from rljax.verifiers.numeric import closeness as closeness
from rljax.verifiers.sandbox import Limits as Limits
from rljax.verifiers.sandbox import Sandbox as Sandbox
from rljax.verifiers.segments import Segment as Segment
from rljax.verifiers.segments import middle_segments as middle_segments
from rljax.verifiers.segments import next_segments as next_segments
from rljax.verifiers.segments import segment_columns as segment_columns
from rljax.verifiers.segments import sentences as sentences
from rljax.verifiers.unit_tests import Assertion as Assertion
from rljax.verifiers.unit_tests import Call as Call
from rljax.verifiers.unit_tests import Script as Script
from rljax.verifiers.unit_tests import calls as calls
from rljax.verifiers.unit_tests import same_text as same_text
from rljax.verifiers.unit_tests import same_value as same_value
