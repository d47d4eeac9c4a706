"""REDI."""

from __future__ import annotations

import jax.numpy as jnp

from rljax import preference
from rljax.groups import per_group
from rljax.methods.combinators import stateless
from rljax.methods.disco import log_likelihood, sides
from rljax.types import Batch, Method, Term


def redi(*, alpha: float = 0.8, gamma: float = 0.0) -> Method:
  """Reinforcement distillation: learn from a teacher's right traces, unlearn its wrong ones.

  A pair is a prompt's right and wrong trace, by `extras['correct']` (else the reward) of exactly 1
  and 0; a group of more counts as one pair of means. Prompts without both sides are not counted.
  The paper's first stage, supervised training on right traces, comes before.

  Args:
    alpha: weight of the wrong traces.
    gamma: fades a wrong trace's term out as the trace becomes unlikely.

  Source: arXiv 2505.24850; the authors' recipe redi_1_08_1e-6.
  """

  def value(scores, batch):
    right, _ = sides(batch)
    return preference.redi(log_likelihood(scores, batch), right, alpha=alpha, gamma=gamma)

  method = stateless(lambda batch: batch, policy=Term(value, _pair_mean))
  return method._replace(needs=('traces',))


def _pair_mean(batch: Batch):
  """Mean over each side of a prompt, and over the prompts that have both, `[*N]`."""

  def share(right, wrong, where=None):
    del where  # who is not real is on neither side
    counts = [jnp.sum(side, axis=-1, keepdims=True) for side in (right, wrong)]
    both = (counts[0] > 0) & (counts[1] > 0)
    pairs = jnp.maximum(jnp.sum(both), 1).astype(right.dtype)
    each = right / jnp.maximum(counts[0], 1) + wrong / jnp.maximum(counts[1], 1)
    return jnp.where(both, each, 0) / pairs

  return per_group(share, batch)(*sides(batch))
