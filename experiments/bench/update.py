"""Tokens a second of GRPO's update, prompts included: `python -m experiments.bench.update`.

With `--workload.min_new_tokens=8` completions have uniform lengths and only their own tokens count;
`--workload.bucket=32` then packs them, and the same without it is measured in turn.
"""

from __future__ import annotations

import jax

from experiments.bench import costs, harness, library
from rljax import training


def build(w):
  """One optimizer step a repeat, on a rollout that is there already."""
  model, method = library.decoder(w), library.method(w)
  params = library.parameters(w, model)
  given = library.packed(w, library.rollout(w))
  batch = jax.block_until_ready(library.preparation(w, model, method)(params, given))
  state = training.init_state(params, library.optimizer(w), method)
  step = library.train_step(w, model, method)
  tokens = w.prompts * w.group_size * w.prompt_length + int((batch.completion >= 0).sum())

  def run():
    nonlocal state
    state, _ = jax.block_until_ready(step(state, batch))
    return {'tokens': tokens}

  return run


def measure():
  """The benchmark, and if completions are packed the same with padding."""
  plain = harness.FLAGS.workload.copy_and_resolve_references()
  with plain.unlocked():
    plain.bucket = 0
  others = {'padded': harness.ours('update', plain)} if harness.FLAGS.workload.bucket else {}
  return harness.compare('update', costs.update, others)


if __name__ == '__main__':
  harness.main('update', measure)
