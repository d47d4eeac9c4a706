"""Tokens a second of supervised learning: `python -m experiments.bench.sft [--vs=tunix]`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from experiments.bench import costs, harness, library
from rljax import training


def build(w):
  """One optimizer step a repeat, on rows of one example each."""
  model = library.decoder(w)
  tx = library.optimizer(w)
  state = training.init_state(library.parameters(w, model), tx)
  step = jax.jit(training.make_supervised_step(model, tx, w.microbatches), donate_argnums=0)
  shape = (w.sft_rows, w.sft_length)
  tokens = np.random.default_rng(w.seed).integers(0, w.model.vocab_size, shape, np.int32)
  rows = {
    'tokens': jnp.asarray(tokens),
    'positions': jnp.broadcast_to(jnp.arange(w.sft_length)[None], shape),
    'segments': jnp.zeros(shape, jnp.int32),
    'mask': jnp.ones(shape, jnp.float32),
  }

  def run():
    nonlocal state
    state, _ = jax.block_until_ready(step(state, rows))
    return {'tokens': w.sft_rows * w.sft_length}

  return run


if __name__ == '__main__':
  harness.main('sft', lambda: harness.compare('sft', costs.sft))
