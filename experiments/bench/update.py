"""Tokens a second of GRPO's update, prompts included: `python -m experiments.bench.update`."""

from __future__ import annotations

import jax

from experiments.bench import costs, harness, library
from rljax import training


def build(w):
  """One optimizer step a repeat, on a rollout that is there already."""
  model, method = library.decoder(w), library.method(w)
  params = library.parameters(w, model)
  batch = jax.block_until_ready(library.preparation(w, model, method)(params, library.rollout(w)))
  state = training.init_state(params, library.optimizer(w), method)
  step = library.train_step(w, model, method)
  tokens = w.prompts * w.group_size * (w.prompt_length + w.max_new_tokens)

  def run():
    nonlocal state
    state, _ = jax.block_until_ready(step(state, batch))
    return {'tokens': tokens}

  return run


if __name__ == '__main__':
  harness.main('update', lambda: harness.compare('update', costs.update))
