"""Seconds until the programs of a GRPO step are compiled, at two depths: `python -m
experiments.bench.compile_time [--deep=48]`.

No parameter is allocated and nothing runs; a repeat finds no programs of the one before it.
"""

from __future__ import annotations

import time

import jax
from absl import flags

from experiments.bench import harness, library
from rljax import models, training

FLAGS = flags.FLAGS


def build(w):
  """Compiles sampler, reference scores and update once a repeat."""
  model, method, key = library.decoder(w), library.method(w), jax.random.key(w.seed)
  params = jax.eval_shape(lambda: models.init(key, model.specs))
  state = jax.eval_shape(lambda p: training.init_state(p, library.optimizer(w), method), params)
  batch = library.rollout(w)
  sample, step = library.sampler(w, model), library.train_step(w, model, method)
  prepare = library.preparation(w, model, method)
  ready = jax.eval_shape(prepare, params, batch)

  def run():
    jax.clear_caches()
    start = time.perf_counter()
    sample.lower(params, batch.prompt[:, 0], key).compile()
    sampled = time.perf_counter()
    prepare.lower(params, batch).compile()
    step.lower(state, ready).compile()
    return {'sampler_s': sampled - start, 'train_s': time.perf_counter() - sampled}

  return run


def measure():
  """Both depths in turn; ratios are of the deep model to the other."""
  deep = FLAGS.workload.copy_and_resolve_references()
  deep.model.num_layers = FLAGS.deep
  commands = {
    f'{w.model.num_layers}_layers': harness.ours('compile_time', w) for w in (FLAGS.workload, deep)
  }
  with harness.measured(commands, repeats=FLAGS.repeats, warmup=FLAGS.warmup) as processes:
    found = {name: harness.summary(process) for name, process in processes.items()}
  few, many = found.values()
  return {
    **found,
    'ratio': many['seconds']['median'] / few['seconds']['median'],
    'ratio_of_sampler': many['sampler_s'] / few['sampler_s'],
    'ratio_of_train': many['train_s'] / few['train_s'],
    'ratio_of_cpu_time': many['cpu_s'] / few['cpu_s'],
  }


if __name__ == '__main__':
  flags.DEFINE_integer('deep', 48, 'Layers of the deep model.', lower_bound=1)
  harness.main('compile_time', measure)
