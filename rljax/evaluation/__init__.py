"""Metrics of sampled answers."""

from rljax.evaluation.pass_at_k import avg_at_k as avg_at_k
from rljax.evaluation.pass_at_k import pass_at_k as pass_at_k
