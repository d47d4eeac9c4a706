"""Update-selective merging against a sort of one flat vector."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import both_precisions

from rljax import merging

SHAPES = {'a': (3, 4, 5), 'b': (7,), 'c': (6, 3), 'd': ()}


def trees(seed, ties):
  """Two trees; with ties their differences are -1, -0.5, 0, 0.5 or 1."""
  rng = np.random.default_rng(seed)
  if ties:
    draw, differ = (lambda s: rng.integers(-3, 4, s) * 1.0), (lambda s: rng.integers(-2, 3, s) / 2)
  else:
    draw, differ = (lambda s: np.float32(rng.normal(size=s)),) * 2
  base = {name: np.asarray(draw(shape)) for name, shape in SHAPES.items()}
  return base, {name: b + differ(b.shape) for name, b in base.items()}


def slow(base, tuned, keep, scale):
  names = sorted(base)
  b, t = (np.concatenate([np.float64(tree[n]).ravel() for n in names]) for tree in (base, tuned))
  number = max(1, int(keep * len(b) + 1e-9))
  largest = sorted(range(len(b)), key=lambda i: (-abs(t[i] - b[i]), i))[:number]
  out, start = b.copy(), 0
  for i in largest:
    out[i] += scale * (t[i] - b[i])
  found = {}
  for n in names:
    found[n] = out[start : start + base[n].size].reshape(base[n].shape)
    start += base[n].size
  return found


@both_precisions
@pytest.mark.parametrize('ties', [False, True])
def test_merging_equals_a_sort(dtype, tolerance, ties):
  for seed, keep in enumerate([0.001, 0.1, 0.25, 0.6, 1.0]):
    base, tuned = (jax.tree.map(lambda x: x.astype(dtype), tree) for tree in trees(seed, ties))
    with jax.enable_x64(dtype == 'float64'):
      args = jax.tree.map(jnp.asarray, (base, tuned))
      whole = merging.update_selective_merge(*args, keep=keep, scale=0.5)
      apart = merging.update_selective_merge_per_tensor(*args, keep=keep, scale=0.5)
    for name, expected in slow(base, tuned, keep, 0.5).items():
      assert whole[name].dtype == dtype
      np.testing.assert_allclose(whole[name], expected, rtol=tolerance, atol=tolerance)
      alone = slow({name: base[name]}, {name: tuned[name]}, keep, 0.5)[name]
      np.testing.assert_allclose(apart[name], alone, rtol=tolerance, atol=tolerance)
  if not ties:
    kept = sum(int((np.asarray(whole[n]) != base[n]).sum()) for n in SHAPES)
    assert kept == sum(b.size for b in base.values())  # keep was 1


def test_equal_models_stay_and_one_entry_moves_at_least():
  base, tuned = trees(0, False)
  same = merging.update_selective_merge(*jax.tree.map(jnp.asarray, (base, base)))
  jax.tree.map(np.testing.assert_array_equal, same, jax.tree.map(np.float32, base))
  one = merging.update_selective_merge(*jax.tree.map(jnp.asarray, (base, tuned)), keep=1e-9)
  assert sum(int((np.asarray(one[n]) != np.float32(base[n])).sum()) for n in SHAPES) == 1


def test_equal_changes_go_to_the_first_of_the_stacked_layers():
  base, tuned = {'x': jnp.zeros((2, 2, 2))}, {'x': jnp.ones((2, 2, 2))}
  found = merging.update_selective_merge(base, tuned, keep=0.7, scale=1.0)['x']
  np.testing.assert_array_equal(found.reshape(-1), [1, 1, 1, 1, 1, 0, 0, 0])


def test_a_result_has_the_wider_type_and_small_changes_of_bfloat16_count():
  base = {'x': jnp.ones(8, jnp.bfloat16), 'y': jnp.ones(8, jnp.bfloat16)}
  tuned = {'x': base['x'].at[3].set(1.0078125), 'y': base['y'].astype(jnp.float32)}
  found = merging.update_selective_merge(base, tuned, keep=1 / 16, scale=1.0)
  assert (found['x'].dtype, found['y'].dtype) == (jnp.bfloat16, jnp.float32)
  np.testing.assert_array_equal(found['x'], tuned['x'])


def test_merging_traces():
  base, tuned = jax.tree.map(jnp.asarray, trees(2, True))
  plain = merging.update_selective_merge(base, tuned)
  jax.tree.map(
    np.testing.assert_array_equal, jax.jit(merging.update_selective_merge)(base, tuned), plain
  )


X = jnp.zeros(2)


@pytest.mark.parametrize(
  ('base', 'tuned', 'keep', 'message'),
  [
    ({'a': X}, {'a': X, 'b': X}, 0.5, r"\['b'\] is in tuned and not in base"),
    ({'a': X, 'b': X}, {'a': X}, 0.5, r"\['b'\] is in base and not in tuned"),
    ({'a': X}, {'a': jnp.zeros(3)}, 0.5, r'shape \(2,\) in base and \(3,\) in tuned'),
    ({'a': X}, {'a': jnp.zeros(2, jnp.int32)}, 0.5, 'is int32; only floats'),
    ([X], (X,), 0.5, 'containers of different types'),
    ({}, {}, 0.5, 'no parameters'),
    ({'a': X}, {'a': X}, 0.0, r'must be in \(0, 1\], not 0.0'),
    ({'a': X}, {'a': X}, 1.5, r'must be in \(0, 1\], not 1.5'),
  ],
)
def test_what_cannot_be_merged_is_said_in_words(base, tuned, keep, message):
  for merge in (merging.update_selective_merge, merging.update_selective_merge_per_tensor):
    with pytest.raises(ValueError, match=message):
      merge(base, tuned, keep=keep)
