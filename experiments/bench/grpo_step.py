"""Seconds of a whole GRPO step, from prompts to new parameters: `python -m
experiments.bench.grpo_step [--workload.beta=0.04] [--vs=tunix]`.

Sampling, rewards on the host, the reference's scores if there is a penalty, one optimizer step.
Tokens are those of prompts and completions.
"""

from __future__ import annotations

import time

import jax
import jax.numpy as jnp

from experiments.bench import costs, harness, library
from rljax import training


def build(w):
  """One step a repeat; `sample_s` and `train_s` are its two halves."""
  model, method = library.decoder(w), library.method(w)
  reference, prompt = library.parameters(w, model), library.prompts(w)
  # The step deletes the parameters that it is given, and the reference must live on.
  params = jax.tree.map(jnp.copy, reference) if w.beta else reference
  state = training.init_state(params, library.optimizer(w), method)
  sample, prepare = library.sampler(w, model), library.preparation(w, model, method)
  step, key = library.train_step(w, model, method), jax.random.key(w.seed)
  reference = reference if w.beta else None

  def run():
    nonlocal state
    start = time.perf_counter()
    samples = sample(state.params, prompt[:, 0], jax.random.fold_in(key, state.step))
    batch = library.packed(w, library.judged(w, prompt, samples))
    sampled = time.perf_counter()
    state, _ = jax.block_until_ready(step(state, prepare(reference, batch)))
    rows = w.prompts * w.group_size
    return {
      'tokens': rows * w.prompt_length + int(batch.mask.sum()),
      'sample_s': sampled - start,
      'train_s': time.perf_counter() - sampled,
    }

  return run


if __name__ == '__main__':
  harness.main('grpo_step', lambda: harness.compare('grpo_step', costs.grpo_step))
