"""Peak memory of each phase in a process of its own: `python -m experiments.bench.memory
[--phases=update] [--model=wide] [--vs=tunix]`.

`beyond_start_mb` is what a phase adds to a process that has imported its libraries and holds
parameters and optimizer.
"""

from __future__ import annotations

from absl import flags

from experiments.bench import harness

FLAGS = flags.FLAGS


def measure():
  """Every phase, and a peer's, one after the other: two processes would share what is there."""
  result = {}
  for phase in FLAGS.phases:
    commands = {'ours': harness.ours(phase, FLAGS.workload)}
    if FLAGS.vs:
      commands[FLAGS.vs] = harness.theirs(FLAGS.vs, phase, FLAGS.workload, FLAGS.peer_python)
    found = {name: peak(command) for name, command in commands.items()}
    result[phase] = found
    if FLAGS.vs:
      found['ratio'] = found['ours']['peak_rss_mb'] / found[FLAGS.vs]['peak_rss_mb']
  return result


def peak(command):
  """Peak memory of a process after its first repeat and `--repeats` more."""
  with harness.measured({'it': command}, repeats=FLAGS.repeats, warmup=0) as processes:
    process = processes['it']
    found = harness.summary(process)
  kept = ('peak_rss_mb', 'device_peak_mb', 'version', 'device')
  return {
    'beyond_start_mb': found['peak_rss_mb'] - process.about['rss_mb'],
    **{name: found[name] for name in kept if name in found},
  }


if __name__ == '__main__':
  flags.DEFINE_list('phases', ['sampler', 'update', 'grpo_step'], 'Benchmarks to look at.')
  harness.main('memory', measure)
