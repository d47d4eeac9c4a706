"""DisCO, DisCO-b and DRPO: raise right answers over wrong ones within a trust region."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax

from rljax import ratios, stats, surrogates
from rljax.methods.group_loss import group_loss
from rljax.methods.reading import correct, kept, trained
from rljax.methods.trust_region import with_kl_bound
from rljax.types import Batch, Method, Scores

Score = Callable[[Scores, Batch], jax.Array]


def log_likelihood(scores: Scores, batch: Batch) -> jax.Array:
  """Mean log-probability of each sequence's tokens, `[*N]`; 0 for an empty sequence."""
  return stats.mean(trained(scores.logp, batch), batch.mask, axis=-1)


def likelihood_ratio(scores: Scores, batch: Batch) -> jax.Array:
  """Mean ratio of each sequence's tokens to the old policy, not clipped, `[*N]`; 0 if empty."""
  ratio = ratios.token(trained(scores.logp, batch), trained(batch.old_logp, batch))
  return stats.mean(ratio, batch.mask, axis=-1)


def disco(
  *, score: Score = log_likelihood, tau: float = 10.0, delta: float = 1e-4, beta: float = 1e3
) -> Method:
  """Discriminative constrained optimisation: no advantages, no clip.

  Right answers' scores go up against a soft maximum over the wrong ones of the same prompt, while
  KL(old, new) is held under `delta`. Right is `extras['correct']` (else the reward) of exactly 1,
  wrong of exactly 0, and anything else is in neither set. Prompts without both give no gradient and
  are counted; an empty sequence scores 0 and is a member, unless `keep` takes it out.

  Args:
    score: `log_likelihood`, or `likelihood_ratio` with `tau` 1.
    tau: temperature of the maximum: 0 is the hardest wrong answer alone, infinity `disco_b`.
    delta: KL in nats a token that costs nothing (`with_kl_bound`).
    beta: strength of the bound.

  Source: arXiv 2505.12366 and its released scripts. The released loss has this gradient and a value
  that means nothing; it forms groups and KL per microbatch, this per optimizer step.
  """
  loss = partial(surrogates.disco, tau=tau)
  return with_kl_bound(group_loss(loss, score, sides), delta=delta, beta=beta)


def disco_b(*, score: Score = log_likelihood, delta: float = 1e-4, beta: float = 1e3) -> Method:
  """`disco` with the plain mean over the wrong answers.

  Source: arXiv 2505.12366.
  """
  return with_kl_bound(group_loss(surrogates.disco_b, score, sides), delta=delta, beta=beta)


def drpo(
  *,
  max_length: int,
  lam: float = 0.1,
  score: Score = log_likelihood,
  tau: float = 10.0,
  delta: float = 1e-4,
  beta: float = 1e3,
) -> Method:
  """Decoupled reward policy optimisation: `disco` with short right answers in front.

  The length reward is compared among right answers only, so a long right answer is never pushed
  below a wrong one.

  Args:
    max_length: the run's longest completion, in tokens.
    lam: how close the weights stay to equal ones; without bound this is `disco`.
    score: as in `disco`.
    tau: as in `disco`.
    delta: as in `disco`.
    beta: as in `disco`.

  Source: arXiv 2510.04474 and the authors' compute_policy_loss_drpo.
  """

  def inputs(batch):
    return (*sides(batch), batch.lengths)

  loss = partial(surrogates.drpo, max_length=max_length, lam=lam, tau=tau)
  return with_kl_bound(group_loss(loss, score, inputs), delta=delta, beta=beta)


def sides(batch: Batch) -> tuple[jax.Array, jax.Array]:
  """Which kept sequences are right, and which are wrong: two float arrays `[*N]`."""
  found, there = stats.as_float(correct(batch)), kept(batch) > 0
  right, wrong = there & (found == 1), there & (found == 0)
  return right.astype(found.dtype), wrong.astype(found.dtype)
