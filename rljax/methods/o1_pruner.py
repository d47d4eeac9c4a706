"""O1-Pruner."""

from __future__ import annotations

import jax.numpy as jnp

from rljax import aggregation, ratios, shaping, surrogates
from rljax.methods.combinators import stateless
from rljax.methods.reading import correct, extra, kept, reference
from rljax.types import Method, Term


def o1_pruner(
  *,
  alpha: float = 5.0,
  low: float = -2.0,
  high: float = 4.0,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
) -> Method:
  """Length-harmonising fine-tuning: shorter than the reference, and as often right.

  The ratio is that of sequences, to the reference (`batch.ref_logp`), whose samples the batch may
  hold as well as the policy's. Reads `batch.extras['ref_length']` and
  `batch.extras['ref_accuracy']`, `[*N]`: mean length in tokens and accuracy of the reference's
  samples of each prompt. Weights are standardised over the kept sequences of the batch, which the
  source takes for the whole data.

  Args:
    alpha: weight of accuracy.
    low: least weight before it is standardised.
    high: largest.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.

  Source: arXiv 2501.12570; follows the authors' construct_dataset.py and train/wsft/trainer.py, to
  which the mean over tokens in the ratio belongs.
  """

  def prepare(batch):
    length = extra(batch, 'ref_length', "mean length of the reference's samples of the prompt")
    accuracy = extra(batch, 'ref_accuracy', "accuracy of the reference's samples of the prompt")
    lengths = batch.lengths
    weights = shaping.o1_pruner(
      correct(batch),
      lengths,
      length,
      accuracy,
      kept(batch) * (lengths > 0),
      alpha=alpha,
      low=low,
      high=high,
    )
    return batch.replace(advantages=weights[..., None])

  def policy(scores, batch):
    ratio = ratios.sequence(scores.logp, reference(batch), batch.mask)
    loss = surrogates.clipped(ratio, batch.advantages, clip_low, clip_high)
    return jnp.broadcast_to(loss, scores.logp.shape)

  def cut(scores, batch):
    ratio = ratios.sequence(scores.logp, reference(batch), batch.mask)
    fraction = surrogates.clip_fraction(ratio, batch.advantages, clip_low, clip_high)
    return jnp.broadcast_to(fraction, scores.logp.shape)

  method = stateless(
    prepare,
    policy=Term(policy, aggregation.sequence_mean),
    clip_fraction=Term(cut, aggregation.sequence_mean, 0.0),
  )
  return method._replace(needs=('ref_length', 'ref_accuracy'))
