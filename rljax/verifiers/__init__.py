"""Text to rewards on the host; NumPy and the standard library only."""

from rljax.verifiers.exact import canary as canary
from rljax.verifiers.exact import exact as exact
from rljax.verifiers.exact import verify as verify
from rljax.verifiers.numeric import canonical as canonical
from rljax.verifiers.numeric import closeness as closeness
