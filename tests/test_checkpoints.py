"""Checkpoints: exact round trips, pruning, damage, mismatches, kills and full disks."""

import json
import logging
import pathlib
import resource
import signal
import subprocess
import sys
import time
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from rljax import checkpoints

REPOSITORY = pathlib.Path(__file__).parents[1]


class Pair(NamedTuple):
  first: jax.Array
  second: jax.Array


@flax.struct.dataclass
class State:
  step: jax.Array
  params: dict
  opt_state: tuple
  extra: Pair


def make_state(seed=0, width=32):
  key = jax.random.key(seed)
  params = {
    'dense': {'w': jax.random.normal(key, (64, width)), 'b': jnp.arange(8, dtype=jnp.bfloat16)},
    'layers': [jnp.full((3,), seed + 0.5), jnp.ones((2, 2), jnp.float8_e4m3fn)],
  }
  return State(
    step=jnp.int32(seed),
    params=params,
    opt_state=optax.adam(1e-3).init(params),
    extra=Pair(jax.random.key(seed + 1), jnp.array([True, False])),
  )


def mesh(devices=4):
  return jax.make_mesh(
    (devices,), ('data',), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices]
  )


def abstract(tree):
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)


def plain(x):
  return np.asarray(
    jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x
  )


def assert_same(actual, expected):
  assert jax.tree.structure(actual) == jax.tree.structure(expected)
  for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
    assert a.dtype == b.dtype
    np.testing.assert_array_equal(plain(a), plain(b))


def save(directory, *steps, **options):
  with checkpoints.Checkpoints(directory, **options) as store:
    for step in steps:
      store.save(step, make_state(step), {'position': step})


def data_file(step_folder):
  """The largest file of a step, which holds array data."""
  files = [path for path in (step_folder / 'state').rglob('*') if path.is_file()]
  return max(files, key=lambda path: path.stat().st_size)


def flip(path, position=None):
  content = bytearray(path.read_bytes())
  content[len(content) // 2 if position is None else position] ^= 1
  path.write_bytes(bytes(content))


def test_round_trip_keeps_types_values_and_host_record(tmp_path):
  state, host = make_state(7), {'position': 3, 'key': [1, 2], 'phase': 'rl', 'loss': 0.1}
  with checkpoints.Checkpoints(tmp_path / 'new' / 'folder') as store:
    assert store.restore(state) is None
    assert store.save(7, state, host)
    restored = store.restore(abstract(make_state(1)))
  assert restored.step == 7
  assert restored.host == host
  assert_same(restored.state, state)


def test_restores_onto_the_shardings_of_like_also_on_another_mesh(tmp_path):
  w = jnp.arange(64.0).reshape(16, 4)
  rows = PartitionSpec('data')
  state = {'w': jax.device_put(w, NamedSharding(mesh(4), rows)), 'count': jnp.int32(1)}
  with checkpoints.Checkpoints(tmp_path) as store:
    store.save(1, state, {})
    same = store.restore(state).state
    assert same['w'].sharding == state['w'].sharding
    other = NamedSharding(mesh(2), PartitionSpec(None, 'data'))
    moved = store.restore(
      {
        'w': jax.ShapeDtypeStruct(w.shape, jnp.bfloat16, sharding=other),
        'count': jax.ShapeDtypeStruct((), jnp.int32),
      }
    ).state
  assert moved['w'].sharding == other and moved['w'].dtype == jnp.bfloat16
  np.testing.assert_array_equal(np.asarray(moved['w'], np.float32), np.asarray(w))
  np.testing.assert_array_equal(np.asarray(same['w']), np.asarray(w))


def test_a_scalar_that_was_bound_to_no_device_still_goes_along_with_any_mesh(tmp_path):
  state = {
    'w': jax.device_put(jnp.ones((8,)), NamedSharding(mesh(4), PartitionSpec('data'))),
    'scale': jnp.float32(2.0),
    'key': jax.random.key(0),
  }

  @jax.jit
  def use(state):
    return state['scale'] * state['w'] * jax.random.uniform(state['key'])

  with checkpoints.Checkpoints(tmp_path) as store:
    store.save(1, state, {})
    restored = store.restore(state).state
  np.testing.assert_array_equal(use(restored), use(state))


def test_arrays_may_be_donated_as_soon_as_save_returns(tmp_path):
  state = {'w': jax.random.normal(jax.random.key(0), (1000, 1000))}
  before = np.array(state['w'])
  change = jax.jit(lambda x: x + 1.0, donate_argnums=0)
  with checkpoints.Checkpoints(tmp_path) as store:
    store.save(1, state, {})
    change(state['w']).block_until_ready()
    restored = store.restore({'w': jax.ShapeDtypeStruct((1000, 1000), jnp.float32)})
  np.testing.assert_array_equal(restored.state['w'], before)


def test_keeps_the_last_and_the_best_also_after_reopening(tmp_path):
  state = {'x': jnp.ones(2)}
  accuracy = {1: 0.2, 2: 0.9, 3: float('nan'), 4: 0.1}
  with checkpoints.Checkpoints(tmp_path, keep_last=2, keep_best=1) as store:
    for step in range(1, 6):
      store.save(step, state, {}, {'accuracy': accuracy[step]} if step in accuracy else None)
    store.wait()
    assert store.steps() == [2, 4, 5]
  with checkpoints.Checkpoints(tmp_path, keep_last=1, keep_best=1) as store:
    store.save(6, state, {}, {'accuracy': 0.3})
    store.wait()
    assert store.steps() == [2, 6]
  assert sorted(path.name for path in tmp_path.iterdir()) == ['2', '6']


def test_a_stored_step_is_left_as_it_is_and_an_earlier_one_is_refused(tmp_path):
  with checkpoints.Checkpoints(tmp_path) as store:
    assert store.save(4, {'x': jnp.ones(2)}, {})
    assert not store.save(4, {'x': jnp.zeros(2)}, {})
    np.testing.assert_array_equal(store.restore({'x': jnp.ones(2)}).state['x'], [1.0, 1.0])
    with pytest.raises(ValueError, match='Step 3 cannot be saved after step 4'):
      store.save(3, {'x': jnp.ones(2)}, {})


def test_bad_input_is_refused_before_anything_is_written(tmp_path):
  x = {'x': jnp.ones(2)}
  with pytest.raises(ValueError, match='keep_last'):
    checkpoints.Checkpoints(tmp_path, keep_last=0)
  with checkpoints.Checkpoints(tmp_path) as store:
    with pytest.raises(ValueError, match=r"\['x'\] is float, not a jax.Array"):
      store.save(1, {'x': 1.0}, {})
    with pytest.raises(ValueError, match='empty array'):
      store.save(1, {'x': jnp.zeros((0, 2))}, {})
    with pytest.raises(ValueError, match='host must be plain JSON'):
      store.save(1, x, {'key': jnp.ones(2)})
    with pytest.raises(ValueError, match='host must be plain JSON'):
      store.save(1, x, {'loss': float('nan')})
    with pytest.raises(ValueError, match=r"'accuracy', which is not in the metrics \['reward'\]"):
      store.save(1, x, {}, {'reward': 1.0})
    assert store.steps() == []
  assert list(tmp_path.iterdir()) == []


def one_array(seed):
  """A state whose damage is quiet: Orbax abandons the reads of the arrays beside a failed one."""
  return {'x': jax.random.normal(jax.random.key(seed), (64, 32))}


def spoil(kind, folder):
  file = data_file(folder)
  if kind == 'flipped bit in an array':
    flip(file)
  elif kind == 'truncated array':
    file.write_bytes(file.read_bytes()[:100])
  elif kind == 'missing array':
    file.unlink()
  elif kind == 'flipped bit in the host record':
    record = folder / 'host' / 'metadata'
    record.write_bytes(record.read_bytes().replace(b'"position": 2', b'"position": 3'))
  elif kind == 'empty host record':
    (folder / 'host' / 'metadata').write_bytes(b'')
  elif kind == 'missing host record':
    (folder / 'host' / 'metadata').unlink()
  elif kind == 'unreadable tree':
    (folder / 'state' / '_METADATA').write_bytes(b'{"tree')
  else:
    (folder / 'state' / 'manifest.ocdbt').unlink()


@pytest.mark.parametrize(
  'kind',
  [
    'flipped bit in an array',
    'truncated array',
    'missing array',
    'flipped bit in the host record',
    'empty host record',
    'missing host record',
    'unreadable tree',
    'missing manifest',
  ],
)
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_is_used(tmp_path, caplog, kind):
  states = {step: one_array(step) for step in (1, 2)}
  with checkpoints.Checkpoints(tmp_path) as store:
    for step, state in states.items():
      store.save(step, state, {'position': step})
  spoil(kind, tmp_path / '2')
  with checkpoints.Checkpoints(tmp_path) as store, caplog.at_level(logging.WARNING):
    restored = store.restore(one_array(0))
    assert store.steps() == [1]
    store.save(2, states[2], {'position': 2})  # the step is free again
  assert restored.step == 1 and restored.host == {'position': 1}
  assert_same(restored.state, states[1])
  warning = next(each.getMessage() for each in caplog.records if each.name == 'rljax.checkpoints')
  assert f'{tmp_path / "2"} is damaged' in warning and '2.damaged' in warning
  assert (tmp_path / '2.damaged' / 'state').is_dir()
  with checkpoints.Checkpoints(tmp_path) as store:
    assert_same(store.restore(one_array(0)).state, states[2])


@pytest.mark.nightly
@pytest.mark.slow
def test_no_flipped_bit_anywhere_gives_wrong_numbers(tmp_path):
  state = one_array(1)
  with checkpoints.Checkpoints(tmp_path) as store:
    store.save(1, state, {'position': 1})
  rng = np.random.default_rng(0)
  noticed = 0
  for file in sorted(path for path in (tmp_path / '1').rglob('*') if path.is_file()):
    content = file.read_bytes()
    for position in rng.integers(len(content), size=4):
      flip(file, position)
      with checkpoints.Checkpoints(tmp_path) as store:
        try:
          restored = store.restore(state)
        except checkpoints.CheckpointError:
          noticed += 1
          (tmp_path / '1.damaged').rename(tmp_path / '1')
        else:
          assert restored.host == {'position': 1}, file
          assert_same(restored.state, state)
      file.write_bytes(content)
  assert noticed >= 8


def test_unreadable_metrics_do_not_stop_the_opening(tmp_path, caplog):
  with checkpoints.Checkpoints(tmp_path) as store:
    for step in (1, 2):
      store.save(step, {'x': jnp.ones(2)}, {}, {'accuracy': 0.5})
  (tmp_path / '2' / 'metrics' / 'metrics').write_bytes(b'{"acc')
  with checkpoints.Checkpoints(tmp_path) as store:
    assert store.restore({'x': jnp.ones(2)}).step == 1
  assert 'metrics cannot be read' in caplog.text


def test_all_damaged_is_an_error_now_and_at_the_next_start(tmp_path):
  save(tmp_path, 1, 2)
  for step in (1, 2):
    spoil('empty host record', tmp_path / str(step))
  for _ in range(2):
    with checkpoints.Checkpoints(tmp_path) as store, pytest.raises(Exception) as error:
      store.restore(make_state(0))
    assert error.type is checkpoints.CheckpointError
    assert str(tmp_path) in str(error.value)
    assert '1.damaged' in str(error.value) and '2.damaged' in str(error.value)


def test_a_damaged_step_that_is_damaged_again_gets_another_name(tmp_path):
  save(tmp_path, 1)
  (tmp_path / '1.damaged').mkdir()
  spoil('empty host record', tmp_path / '1')
  with checkpoints.Checkpoints(tmp_path) as store, pytest.raises(checkpoints.CheckpointError):
    store.restore(make_state(0))
  assert (tmp_path / '1.damaged2' / 'state').is_dir()


def test_another_shape_or_tree_is_the_callers_error_and_nothing_is_renamed(tmp_path):
  save(tmp_path, 1)
  replace = make_state(0).replace
  with checkpoints.Checkpoints(tmp_path) as store:
    with pytest.raises(
      checkpoints.MismatchError, match=r'params/dense/w .*\(64, 32\).*\(64, 16\)|opt_state'
    ):
      store.restore(make_state(0, width=16))
    with pytest.raises(
      checkpoints.MismatchError, match=r'params/dense/b .*\[8\].* not in what is asked for'
    ):
      store.restore(
        replace(
          params={'dense': {'w': jnp.ones((64, 32))}, 'layers': make_state(0).params['layers']}
        )
      )
    with pytest.raises(
      checkpoints.MismatchError, match=r'params/new .*\[2\].* asked for, but not in'
    ):
      store.restore(replace(params={**make_state(0).params, 'new': jnp.ones(2)}))
    with pytest.raises(ValueError, match=r'divisible|evenly'):
      bad = jax.ShapeDtypeStruct(
        (3,), jnp.float32, sharding=NamedSharding(mesh(4), PartitionSpec('data'))
      )
      params = {**make_state(0).params, 'layers': [bad, make_state(0).params['layers'][1]]}
      store.restore(replace(params=params))
    assert store.steps() == [1]
    assert_same(store.restore(make_state(0)).state, make_state(1))


def test_params_alone_from_run_folder_checkpoints_folder_and_step_folder(tmp_path):
  folder = tmp_path / 'run' / 'checkpoints'
  save(folder, 1, 2)
  for path, step in [(tmp_path / 'run', 2), (folder, 2), (folder / '1', 1)]:
    assert_same(checkpoints.restore_params(path), make_state(step).params)
  sharding = NamedSharding(mesh(4), PartitionSpec('data'))
  like = make_state(0).params
  like['dense']['w'] = jax.ShapeDtypeStruct((64, 32), jnp.bfloat16, sharding=sharding)
  params = checkpoints.restore_params(folder, like)
  assert params['dense']['w'].sharding == sharding
  np.testing.assert_array_equal(
    np.asarray(params['dense']['w']), np.asarray(make_state(2).params['dense']['w'], jnp.bfloat16)
  )
  with pytest.raises(checkpoints.MismatchError, match=r'dense/w .*\(64, 32\).*\(64, 16\)'):
    checkpoints.restore_params(folder, make_state(0, width=16).params)


def test_params_of_a_damaged_folder_come_from_the_step_before_and_nothing_is_renamed(
  tmp_path, caplog
):
  save(tmp_path, 1, 2)
  spoil('flipped bit in the host record', tmp_path / '2')
  names = sorted(path.name for path in tmp_path.iterdir())
  assert_same(checkpoints.restore_params(tmp_path), make_state(1).params)
  assert 'is damaged' in caplog.text
  with pytest.raises(checkpoints.CheckpointError, match='differs from what was saved'):
    checkpoints.restore_params(tmp_path / '2')
  assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_params_that_are_not_there(tmp_path):
  with pytest.raises(FileNotFoundError, match='looked for a step folder'):
    checkpoints.restore_params(tmp_path)
  with pytest.raises(FileNotFoundError, match='the path does not exist'):
    checkpoints.restore_params(tmp_path / 'nowhere')
  with checkpoints.Checkpoints(tmp_path) as store:
    store.save(1, {'weights': jnp.ones(2)}, {})
  with pytest.raises(checkpoints.MismatchError, match=r"has no 'params'; it has \['weights'\]"):
    checkpoints.restore_params(tmp_path)


def test_a_write_that_fails_names_the_newest_complete_checkpoint(tmp_path):
  small = {'x': jnp.ones(2)}
  noise = {'x': jax.random.normal(jax.random.key(0), (1000, 1000))}
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  with checkpoints.Checkpoints(tmp_path) as store:
    store.save(1, small, {})
    store.wait()
    try:
      resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))  # files cannot grow to 4 MB
      with pytest.raises(checkpoints.CheckpointError, match=r'step 2 .* complete one is step 1'):
        store.save(2, noise, {})
        store.wait()
    finally:
      resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
  with checkpoints.Checkpoints(tmp_path) as store:
    assert store.steps() == [1]
    assert store.restore(small).step == 1


KILLED = """
import sys
import jax, jax.numpy as jnp
from rljax import checkpoints
with checkpoints.Checkpoints(sys.argv[1]) as store:
  start = store.restore({'x': jnp.zeros((300, 300)), 'y': jnp.zeros((300, 300))})
  step = start.step if start else 0
  for step in range(step + 1, step + 100000):
    x = jnp.full((300, 300), float(step))
    store.save(step, {'x': x, 'y': -x}, {'step': step}, {'accuracy': step % 7})
    if step % 5 == 0:
      print(step, flush=True)
"""


@pytest.mark.slow
def test_killing_a_process_while_it_saves_never_costs_more_than_the_save_in_progress(tmp_path):
  like = {'x': jnp.zeros((300, 300)), 'y': jnp.zeros((300, 300))}
  newest = 0
  for delay in (0.0, 0.013, 0.031):
    process = subprocess.Popen(
      [sys.executable, '-c', KILLED, str(tmp_path)],
      stdout=subprocess.PIPE,
      cwd=REPOSITORY,
      text=True,
    )
    try:
      reached = int(process.stdout.readline())
      time.sleep(delay)
    finally:
      process.send_signal(signal.SIGKILL)
      process.wait()
      process.stdout.close()
    with checkpoints.Checkpoints(tmp_path) as store:
      restored = store.restore(like)
      assert max(newest, reached - 1) <= restored.step == restored.host['step']
      np.testing.assert_array_equal(restored.state['x'], np.full((300, 300), restored.step))
      np.testing.assert_array_equal(restored.state['y'], np.full((300, 300), -restored.step))
      newest = restored.step
  with checkpoints.Checkpoints(tmp_path) as store:
    store.save(newest + 1, like, {})
  names = [path.name for path in tmp_path.iterdir()]
  assert all(name.isdigit() for name in names), names


def test_orbax_is_quiet(tmp_path):
  code = (
    'import logging, sys, absl.logging\n'
    'absl.logging.set_verbosity(absl.logging.INFO)\n'
    'import jax.numpy as jnp\n'
    'from rljax import checkpoints\n'
    'with checkpoints.Checkpoints(sys.argv[1]) as store:\n'
    '  store.save(1, {"params": {"x": jnp.ones(2)}}, {})\n'
    '  store.restore({"params": {"x": jnp.ones(2)}})\n'
    'checkpoints.restore_params(sys.argv[1])\n'
    'absl.logging.info("still heard")\n'
  )
  done = subprocess.run(
    [sys.executable, '-c', code, str(tmp_path)],
    capture_output=True,
    text=True,
    cwd=REPOSITORY,
    check=True,
  )
  assert done.stdout == ''
  assert 'still heard' in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


def test_the_record_of_a_checkpoint_is_readable_json(tmp_path):
  save(tmp_path, 1)
  record = json.loads((tmp_path / '1' / 'host' / 'metadata').read_text())
  assert record['host'] == {'position': 1}
  assert [['step'], [], 'int32'] in [leaf[:3] for leaf in record['leaves']]
