"""Tokens a second of the sampler: `python -m experiments.bench.sampler [--vs=tunix]`.

With `--workload.min_new_tokens=8` completions have uniform lengths and only their own tokens count.
"""

from __future__ import annotations

import jax

from experiments.bench import costs, harness, library


def build(w):
  """One rollout a repeat."""
  model = library.decoder(w)
  params, prompt = library.parameters(w, model), library.prompts(w)[:, 0]
  sample, key = library.sampler(w, model), jax.random.key(w.seed)
  step = 0

  def run():
    nonlocal step
    step += 1
    samples = jax.block_until_ready(sample(params, prompt, jax.random.fold_in(key, step)))
    return {'tokens': int((samples.completion >= 0).sum())}

  return run


if __name__ == '__main__':
  harness.main('sampler', lambda: harness.compare('sampler', costs.sampler))
