"""Tunix's update of a rollout that is there already."""

import jax.numpy as jnp
import numpy as np
import serve
import with_tunix
from tunix.rl.grpo import grpo_learner


def build(w):
  """One optimizer step a repeat."""
  learner = with_tunix.learner(w)
  rows = w['prompts'] * w['group_size']
  ids = with_tunix.tokens(w, rows, w['prompt_length'] + w['max_new_tokens'])
  prompt, completion = np.split(ids, [w['prompt_length']], axis=1)
  logp = jnp.full(completion.shape, -np.log(w['model']['vocab_size']), jnp.float32)
  example = grpo_learner.TrainExample(
    prompt_ids=jnp.asarray(prompt),
    prompt_mask=jnp.ones(prompt.shape, bool),
    completion_ids=jnp.asarray(completion),
    completion_mask=jnp.ones(completion.shape, bool),
    ref_per_token_logps=logp if w['beta'] else None,
    advantages=jnp.asarray(np.random.default_rng(1).normal(size=rows), jnp.float32),
    old_per_token_logps=None,
  )

  def run():
    learner.rl_cluster.update_actor([example], None, False)
    return {'tokens': ids.size}

  return run, with_tunix.about()


if __name__ == '__main__':
  serve.serve(build, serve.workload())
