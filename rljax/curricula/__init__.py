"""What is asked next, and with how much help: decisions on arrays that a sampling loop carries
out."""

from rljax.curricula.hints import ghpo_stage as ghpo_stage
from rljax.curricula.hints import hint_length as hint_length
from rljax.curricula.response import response_curve as response_curve
from rljax.curricula.response import seele_fit as seele_fit
from rljax.curricula.response import seele_inverse as seele_inverse
from rljax.curricula.response import seele_memory as seele_memory
from rljax.curricula.response import seele_rate as seele_rate
from rljax.curricula.response import seele_start as seele_start
