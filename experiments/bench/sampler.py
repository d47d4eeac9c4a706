"""Tokens a second of the sampler: `python -m experiments.bench.sampler [--vs=tunix]`.

With `--workload.min_new_tokens=8` completions have uniform lengths and only their own tokens count.
`--workload.in_flight=64` draws so many at a time, and `--vs=batches` compares with as many in
batches, each of which waits for the longest of its completions.
"""

from __future__ import annotations

import jax

from experiments.bench import costs, harness, library


def build(w):
  """One rollout a repeat."""
  model = library.decoder(w)
  params, prompt = library.parameters(w, model), library.prompts(w)[:, 0]
  sample, key = library.sampler(w, model), jax.random.key(w.seed)
  at_a_time = w.batch or w.prompts
  step = 0

  def run():
    nonlocal step
    step += 1
    tokens = 0
    for start in range(0, w.prompts, at_a_time):
      some = jax.random.fold_in(jax.random.fold_in(key, step), start)
      samples = sample(params, prompt[start : start + at_a_time], some)
      tokens += int((samples.completion >= 0).sum())
    return {'tokens': tokens}

  return run


if __name__ == '__main__':
  harness.main('sampler', lambda: harness.compare('sampler', costs.sampler))
