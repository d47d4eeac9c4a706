"""VeRPO."""

from __future__ import annotations

from functools import partial

import jax.numpy as jnp

from rljax import advantages, aggregation, shaping
from rljax.groups import per_group
from rljax.methods.combinators import stateless
from rljax.methods.reading import correct, extra
from rljax.methods.terms import policy_terms, token_ratio
from rljax.types import Method


def verpo(
  *,
  alpha: float,
  beta: float,
  sigma: float,
  delta: float,
  gamma: float,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
) -> Method:
  """Code in several turns: whole rollouts by their outcome, turns by the tests that they pass.

  Reads `batch.extras`: `passes` `[*N, S, U]`, 1 where a turn passed a unit test of its prompt, 0
  where it failed it, negative where there is no such turn or test; and `step_id` `[*N, T]`, the
  turn of each token. Turns stand first. A rollout solved its problem where it is correct.

  Args:
    alpha: how much more a hard test weighs; no value was seen of the first five.
    beta: weight of the turns beside the rollout.
    sigma: distance of pass rates at which tests stop to count as alike.
    delta: added to the number of tests that are alike.
    gamma: discount of a turn.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.

  Source: arXiv 2601.03525, equations 3 and 7 to 14 as a note gives them; the clip range and the
  mean over each sequence are GRPO's, as nothing was seen of them.
  """
  turn_rewards = partial(shaping.verpo_turns, alpha=alpha, sigma=sigma, delta=delta)
  estimate = partial(advantages.verpo, beta=beta)

  def prepare(batch):
    passes = extra(batch, 'passes', 'what became of each test after each turn, [*N, S, U]')
    step_id = extra(batch, 'step_id', 'the turn of each token, [*N, T]')
    turns = jnp.any(passes >= 0, axis=-1).astype(batch.mask.dtype)
    outcomes = shaping.verpo_outcome(correct(batch), turns.sum(-1), gamma=gamma)
    rewards = per_group(turn_rewards, batch)(passes)
    found = per_group(estimate, batch)(outcomes, rewards, turns)
    return batch.replace(advantages=advantages.to_tokens(found, step_id, turns))

  method = stateless(
    prepare, **policy_terms(token_ratio, clip_low, clip_high, aggregation.sequence_mean)
  )
  return method._replace(needs=('passes',))  # which come with the turn of each token
