"""A process of eight devices that tries every method on a mesh; `test_method_meshes.py` starts it.

    python method_meshes_worker.py OUT PART PARTS

Writes to OUT (json) what differs from one device, by method: empty where nothing does.
"""

import json
import pathlib
import sys

import jax

jax.config.update('jax_num_cpu_devices', 8)
jax.config.update('jax_numpy_rank_promotion', 'raise')

from harness import all_cases, assert_near, loss_of_case, start  # noqa: E402

from rljax.training import sharding  # noqa: E402


def difference(name, mesh):
  """What a method says on the mesh that it does not say on one device."""
  try:
    for layout in all_cases()[name].layouts:
      scores, batch = start(name, seed=4, layout=layout)
      expected = loss_of_case(name, scores, batch)
      constants = jax.device_put(batch.constants, sharding.replicated(mesh))
      rows = jax.device_put((scores, batch.replace(constants={})), sharding.rows(mesh))
      assert len(rows[0].logp.sharding.device_set) == 8
      assert rows[0].logp.addressable_shards[0].data.shape[0] == len(scores.logp) // 4
      found = loss_of_case(name, rows[0], rows[1].replace(constants=constants))
      assert max(abs(x).max() for x in jax.tree.leaves(expected[1])) > 0, 'no gradient'
      assert_near(found[0], expected[0], scale=1.0)
      assert_near(found[1], expected[1])
  except Exception as error:
    return f'{layout}: {type(error).__name__}: {error}'
  return ''


def main():
  out, part, parts = sys.argv[1:]
  names = list(all_cases())[int(part) :: int(parts)]
  mesh = sharding.make_mesh(2, 2, 2)
  pathlib.Path(out).write_text(json.dumps({name: difference(name, mesh) for name in names}))


if __name__ == '__main__':
  main()
