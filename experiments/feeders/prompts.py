"""How sure the policy is of a prompt."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments.build import Parts
from experiments.feeders.common import own_problems
from rljax import advantages, training
from rljax.types import Batch


def prompt_confidence(config: ConfigDict, parts: Parts):
  """Fills `prompt_confidence` `[P, G]`: `advantages.confidence` of the prompt's own tokens.

  All tokens of a prompt but the first, of which the policy says nothing, count; at the temperature
  of the sampler, with the policy before the update. `feed.prompt_confidence.share` is the least
  likely part of them that is averaged.
  """
  share = config.feed.prompt_confidence.share
  score = training.make_score(parts.model, temperature=config.rl.temperature)

  def confidence(params, batch, rewards):
    found = advantages.confidence(score(params, batch).logp, batch.mask, share=share)
    return jnp.broadcast_to(found, rewards.shape)

  confidence = jax.jit(confidence, out_shardings=training.sharding.rows(parts.mesh))

  def feed(drawn, params, key):
    del key
    batch = drawn.batch
    found = confidence(params, _prompts_as_completions(parts, drawn), batch.rewards)
    return drawn._replace(batch=batch.replace(extras={**batch.extras, 'prompt_confidence': found}))

  return feed


def _prompts_as_completions(parts, drawn):
  """The first token of each prompt as a prompt, the others as its completion `[P, 1, Tp - 1]`."""
  encoded = [parts.tokenizer.encode_prompt(p.prompt) for p in own_problems(parts, drawn)]
  completion = np.full((len(encoded), 1, max(parts.prompt_width - 1, 1)), -1, np.int32)
  for row, ids in enumerate(encoded):
    completion[row, 0, : len(ids) - 1] = ids[1:]
  own = {
    'prompt': np.array([ids[:1] for ids in encoded], np.int32)[:, None],
    'completion': completion,
    'mask': (completion >= 0).astype(np.float32),
  }
  return Batch(**training.sharding.from_local_rows(parts.mesh, len(drawn.problems), own))
