"""Probes after every step: how sure and how right the policy is by then. SPAE."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments.build import Parts
from experiments.feeders.common import own_problems, with_extras
from experiments.feeders.rounds import draw_rows, host_batch, padded, prompts_after, put_rows
from experiments.feeders.steps import ends_of_steps, rules_of, step_numbers
from experiments.rollout import make_sampler
from rljax import advantages, sampling, training
from rljax.types import Batch


def potentials(config: ConfigDict, parts: Parts):
  """Fills `potentials` `[P, G, S]`, `num_steps` and `step_id`: see `methods.spae`.

  After each of the first `feed.steps.most` steps the answer is asked for, in the place of the
  step's delimiter. Entropies are those of `feed.potentials.probes` answers of some tokens; the
  probabilities of the reference answer's tokens come from feeding it in at the same place, once for
  all probes, where the authors' example reads them along each. Both are of the policy itself, at
  temperature 1.
  """
  settings, rules = config.feed.potentials, rules_of(parts)
  most, tokens = config.feed.steps.most, settings.tokens
  ask = parts.tokenizer.encode(rules.ask)
  longest = config.rl.max_new_tokens + len(ask)
  sampler = make_sampler(
    parts,
    group_size=settings.probes,
    max_new_tokens=tokens,
    warp=sampling.temperature(settings.temperature),
    in_flight=config.rl.in_flight,
  )
  score = training.make_score(parts.model)

  def measure(params, batch):
    """The potential of each row, whose last completion is the reference answer, `[R]`."""
    scores, real = score(params, batch), batch.completion >= 0
    sure = advantages.probe_confidence(scores.entropy[:, :-1], real[:, :-1])
    right = advantages.probe_accuracy(jnp.exp(scores.logp[:, -1:]), real[:, -1:])
    return advantages.step_potential(right, sure)

  measure = jax.jit(measure, out_shardings=training.sharding.rows(parts.mesh))

  def asking(ids):
    """The ids of a text whose last character, a delimiter, gives way to the request."""
    return np.concatenate([parts.tokenizer.encode(parts.tokenizer.decode(ids)[:-1]), ask])

  def feed(rollout, params, key):
    (completion,) = host_batch(rollout, 'completion')
    ends = ends_of_steps(parts, rules.delimiters, completion, most)
    shape = (*ends.shape[:2], most)
    problems = [p for p in own_problems(parts, rollout) for _ in range(shape[1] * most)]
    prefixes = []
    for p, g in np.ndindex(shape[:2]):
      found = np.flatnonzero(ends[p, g])
      prefixes += [asking(completion[p, g, : end + 1]) for end in found]
      prefixes += [completion[p, g, :0]] * (most - len(found))
    prompt = prompts_after(parts, problems, prefixes, longest)
    limits = np.where([prefix.size > 0 for prefix in prefixes], tokens, 1)
    drawn = draw_rows(parts, sampler, params, prompt, key, limits)
    answers = [parts.tokenizer.encode(problem.answer)[:tokens] for problem in problems]
    answers = np.stack([padded(ids, tokens, -1) for ids in answers])[:, None]
    probes = training.sharding.to_local_rows(drawn.completion)
    put = put_rows(
      parts, {'prompt': prompt, 'completion': np.concatenate([probes, answers], axis=1)}
    )
    values = training.sharding.to_local_rows(measure(params, Batch(**put)))
    extras = {
      'potentials': values.reshape(shape),
      'num_steps': ends.sum(-1),
      'step_id': step_numbers(ends),
    }
    return with_extras(parts, rollout, extras)

  return feed
