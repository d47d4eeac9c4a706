"""Tokens a second of the sampler: `python -m experiments.bench.sampler [--vs=tunix]`.

With `--workload.min_new_tokens=8` completions have uniform lengths and only their own tokens count.
`--workload.in_flight=64` draws so many at a time, and as many in batches, each of which waits for
the longest of its completions, are measured in turn.
"""

from __future__ import annotations

import jax
from ml_collections import ConfigDict

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


def in_batches(workload: ConfigDict) -> ConfigDict:
  """The workload with as many completions at a time, but in batches that do not mix."""
  changed = workload.copy_and_resolve_references()
  if workload.in_flight % workload.group_size:
    raise harness.Failed(
      f'workload.in_flight is {workload.in_flight}; expected a multiple of group_size '
      f'({workload.group_size}), to compare with batches of prompts.'
    )
  changed.in_flight, changed.batch = 0, workload.in_flight // workload.group_size
  return changed


def measure():
  """The benchmark, and if a few completions are drawn at a time the same in batches."""
  workload = harness.FLAGS.workload
  batches = {'batches': harness.ours('sampler', in_batches(workload))} if workload.in_flight else {}
  return harness.compare('sampler', costs.sampler, batches)


if __name__ == '__main__':
  harness.main('sampler', measure)
