"""SEELE's rounds: completions of hints whose length makes half of the answers right."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments.build import Parts
from experiments.errors import UserError
from experiments.feeders.hints import hint_sampler, hints_in_completions, worked_solutions
from experiments.feeders.texts import beside, fill_behavior, make_policy_score
from experiments.rollout import rollout
from rljax import curricula


def hint_mask(config: ConfigDict, parts: Parts):
  """Fills `hint_mask`, float32 `[P, G, T]`, 1 on the hints that completions begin with.

  The group is drawn anew in `feed.hint_mask.rounds` parts. The first is given all but a token of
  the worked solution, as the data of a run are new prompts; every further one as much as the
  response curve through the prompt's rounds says (`curricula.seele_rate`). The rollout without
  hints is the curve's measurement at rate 0, and is not trained on.
  """
  rl, settings = config.rl, config.feed.hint_mask
  rounds = settings.rounds
  if rl.group_size % rounds:
    raise UserError(
      f'rl.group_size ({rl.group_size}) must be a multiple of feed.hint_mask.rounds ({rounds}): '
      'the rounds of a prompt are one group.'
    )
  sampler = hint_sampler(config, parts, rl.group_size // rounds)
  score = make_policy_score(config, parts)
  next_rate = jax.jit(partial(curricula.seele_rate, target=settings.target))

  def feed(drawn, params, key):
    problems = drawn.problems
    solutions = worked_solutions(parts, problems)
    lengths = np.array([len(ids) for ids in solutions], np.float32)
    rates, accuracies, there = np.zeros((3, len(problems), rounds + 1), np.float32)
    accuracies[:, 0], there[:, 0] = drawn.numbers['correct'].mean(-1), 1
    rate = curricula.seele_start(np.full_like(lengths, np.nan), lengths)
    members = []
    for number in range(rounds):
      if number:
        rate = next_rate(rates, accuracies, there)
      counts = np.asarray(curricula.hint_length(lengths, rate))
      counts = np.minimum(counts, rl.max_new_tokens - 1)
      hints = [ids[:count] for ids, count in zip(solutions, counts, strict=True)]
      again = rollout(
        parts,
        sampler,
        params,
        problems,
        jax.random.fold_in(key, number),
        hints=hints,
        limits=rl.max_new_tokens - counts,
      )
      members.append(hints_in_completions(parts, again, hints))
      rates[:, number + 1] = counts / np.maximum(lengths, 1)
      accuracies[:, number + 1], there[:, number + 1] = again.numbers['correct'].mean(-1), 1
    batch = beside(parts, *members)
    batch = fill_behavior(score(params, batch), batch, batch.extras['hint_mask'])
    return drawn._replace(batch=batch)

  return feed
