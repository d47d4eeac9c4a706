"""Critique fine-tuning."""

from __future__ import annotations

import jax.numpy as jnp

from rljax import aggregation
from rljax.methods.combinators import stateless
from rljax.types import Method, Term


def cft() -> Method:
  """Supervised learning of critiques: the mean negative log-likelihood of a critique's token.

  The prompt is a problem with somebody's solution of it, the completion a teacher's critique of
  that solution, `mask` 1 on the critique's tokens only. Many solutions of one problem suffice. No
  reward is read.

  Source: "Unleashing the Reasoning Potential of Pre-trained LLMs by Critique Fine-Tuning on One
    Problem"; the token mean is the usual one of supervised learning, a reconstruction.
  """

  def imitation(scores, batch):
    return -jnp.where(batch.mask > 0, scores.logp, 0.0)

  method = stateless(lambda batch: batch, imitation=Term(imitation, aggregation.token_mean))
  return method._replace(needs=('critiques',))
