"""A process of its own that trains a small decoder on a mesh; `test_meshes.py` starts it.

    python mesh_worker.py OUT --mesh 2 2 2 [--steps 20] [--save DIR | --restore DIR]

Writes to OUT (npz) the metrics of every step and the gradient of the first one.
"""

import argparse

import jax
import numpy as np

arguments = argparse.ArgumentParser()
arguments.add_argument('out')
arguments.add_argument('--mesh', type=int, nargs=3, required=True)
arguments.add_argument('--devices', type=int, default=8)
arguments.add_argument('--steps', type=int, default=20)
arguments.add_argument('--save')
arguments.add_argument('--restore')
arguments.add_argument('--process', type=int)
arguments.add_argument('--port', type=int)
given = arguments.parse_args()

jax.config.update('jax_platforms', 'cpu')
jax.config.update('jax_num_cpu_devices', given.devices)
jax.config.update('jax_numpy_rank_promotion', 'raise')
if given.process is not None:
  jax.distributed.initialize(f'127.0.0.1:{given.port}', 2, given.process)

from rljax import aggregation, methods, models, training  # noqa: E402
from rljax.checkpoints import Checkpoints  # noqa: E402
from rljax.training import sharding  # noqa: E402
from rljax.types import Batch  # noqa: E402

P, G, WIDTH, LENGTH, VOCAB = 8, 2, 4, 6, 16


def rows_of(step):
  """All rows of one step; the same on every process."""
  rng = np.random.default_rng([7, step])
  lengths = rng.integers(1, LENGTH + 1, (P, G))
  there = np.arange(LENGTH) < lengths[..., None]
  completion = np.where(there, rng.integers(0, VOCAB, (P, G, LENGTH)), -1).astype(np.int32)

  def logp():  # near those of the untrained policy
    near = -np.log(VOCAB) + 0.3 * rng.normal(size=there.shape)
    return np.where(there, near, 0.0).astype(np.float32)

  return Batch(
    prompt=rng.integers(0, VOCAB, (P, 1, WIDTH)).astype(np.int32),
    completion=completion,
    mask=there.astype(np.float32),
    rewards=rng.random((P, G)).astype(np.float32),
    truncated=1.0 - (lengths < LENGTH).astype(np.float32),
    behavior_logp=logp(),
    old_logp=logp(),
    ref_logp=logp(),
  )


def main():
  mesh = sharding.make_mesh(*given.mesh)
  model = models.decoder(
    models.DecoderConfig(
      vocab_size=VOCAB,
      dim=16,
      num_layers=5,
      num_heads=4,
      num_kv_heads=2,
      head_dim=4,
      ff_dim=24,
      tied=False,
    ),
    sharding.hold_rows(mesh),
    sharding.by_rows(mesh),
  )
  method = methods.plus(methods.grpo(), kl=methods.kl_to_reference(aggregation.token_mean, 0.1))
  tx = training.optimizers.adamw(1e-3)
  shardings = sharding.params(model.specs, mesh)
  shapes = jax.eval_shape(lambda: models.init(jax.random.key(0), model.specs))
  where = sharding.like_params(
    jax.eval_shape(lambda p: training.init_state(p, tx, method), shapes), shapes, shardings, mesh
  )
  state = jax.jit(
    lambda: training.init_state(models.init(jax.random.key(0), model.specs), tx, method),
    out_shardings=where,
  )()
  # One row a device cannot be cut further.
  num_microbatches = 1 if sharding.row_shards(mesh) == P else 2
  step = jax.jit(
    training.make_train_step(training.make_score(model), method, tx, num_microbatches),
    out_shardings=(where, None),
  )
  prepare = jax.jit(lambda batch: method.prepare((), batch)[1])

  first = 0
  if given.restore:
    with Checkpoints(given.restore) as checkpoints:
      found = checkpoints.restore(state)
    state, first = found.state, found.step
  seen, grads = [], None
  for number in range(first + 1, first + given.steps + 1):
    mine = sharding.local_rows(mesh, P)
    rows = jax.tree.map(lambda x, mine=mine: x[mine], rows_of(number))
    batch = prepare(sharding.from_local_rows(mesh, P, rows))
    state, metrics = step(state, batch)
    seen.append(jax.device_get(metrics))
    if grads is None:  # Adam's first moment from zero is a tenth of the clipped gradient
      grads = sharding.to_hosts(jax.tree.leaves(state.opt_state[1][0].mu))
    if given.save and number == given.steps:
      with Checkpoints(given.save) as checkpoints:
        checkpoints.save(number, state, {})
  if jax.process_index() == 0:
    table = {f'metric/{name}': np.array([m[name] for m in seen]) for name in seen[0]}
    table |= {f'grad/{i}': 10 * x for i, x in enumerate(grads)}
    np.savez(given.out, **table)


if __name__ == '__main__':
  main()
