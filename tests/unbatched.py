"""A policy without batches, padding in front or a head of its own, to compare with."""

import jax
import jax.numpy as jnp
import numpy as np


def make_logp(parts, params):
  """`(prompt, ids) -> ` log-probabilities of the ids after the prompt, one sequence at a time."""
  width = 64

  @jax.jit
  def all_logp(tokens):
    positions = jnp.where(tokens >= 0, jnp.arange(width), -1)
    logits, _ = parts.model.apply(params, tokens[None], positions[None], None)
    return jax.nn.log_softmax(logits[0])

  def logp(prompt, ids):
    tokens = np.full(width, -1, np.int32)
    tokens[: len(prompt) + len(ids)] = [*prompt, *ids]
    found = np.asarray(all_logp(tokens))
    return np.array([found[len(prompt) + i - 1, token] for i, token in enumerate(ids)])

  return logp
