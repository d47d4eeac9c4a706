"""Shared by the comparisons with float64 NumPy loops: exact inputs, two precisions, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

both_precisions = pytest.mark.parametrize(
  ('dtype', 'tolerance'), [('float32', 1e-5), ('float64', 1e-10)]
)


def exact(x):
  """The nearest float32 values, as float64: both precisions start from equal inputs."""
  return np.float64(np.float32(x))


def run(fn, dtype, *args):
  """`fn(*args)` jitted in `dtype`, as float64; the result must have come back in `dtype`."""
  with jax.enable_x64(dtype == 'float64'):
    args = [jnp.asarray(x, dtype) if np.asarray(x).dtype.kind == 'f' else x for x in args]
    result = jax.jit(fn)(*args)
    assert result.dtype == dtype
    return np.asarray(result, np.float64)


def assert_close(actual, expected, tolerance, each=True):
  """Relative error of each entry, or (`each=False`, where sums cancel) to the largest entry."""
  actual, expected = np.asarray(actual), np.asarray(expected)
  assert actual.shape == expected.shape
  largest = np.abs(expected).max(initial=0.0)
  assert np.all(np.isfinite(actual))
  np.testing.assert_allclose(
    actual, expected, rtol=tolerance, atol=0.0 if each else tolerance * largest
  )


def random_mask(rng, shape):
  """Zeros and ones with holes; row 0 is all ones, row 1 all zeros, row 2 has a single one."""
  mask = (rng.random(shape) < 0.6).astype(np.float64)
  rows = mask.reshape(-1, shape[-1])
  rows[0], rows[1], rows[2] = 1.0, 0.0, 0.0
  rows[2, shape[-1] // 2] = 1.0
  return rows.reshape(shape)
