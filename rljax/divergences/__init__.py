"""Distances of two policies, estimated from the log-probabilities of sampled tokens."""

from rljax.divergences.chi2 import chi2 as chi2
from rljax.divergences.kl import absolute as absolute
from rljax.divergences.kl import k1 as k1
from rljax.divergences.kl import k1_plus as k1_plus
from rljax.divergences.kl import k2 as k2
from rljax.divergences.kl import k3 as k3
from rljax.divergences.kl import k3_is as k3_is
from rljax.divergences.kl import k3_plus as k3_plus
