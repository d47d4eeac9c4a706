from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest
from parity import assert_close, both_precisions, exact, run

from rljax import shaping

TRUNCATED = jnp.array([[0.0, 1.0], [1.0, 0.0]])


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_zero_truncated_takes_the_reward_only_where_truncated(dtype):
  rewards = jnp.array([[1.0, 1.0], [-2.0, 3.0]], dtype)
  result = shaping.zero_truncated(rewards, TRUNCATED)
  np.testing.assert_array_equal(result.astype(jnp.float32), [[1.0, 0.0], [0.0, 3.0]])
  assert result.dtype == dtype


@both_precisions
@pytest.mark.parametrize('factor', [0.1, 0.0, 0.5])
def test_scale_truncated_leaves_a_part_of_the_reward_where_truncated(dtype, tolerance, factor):
  rng = np.random.default_rng(0)
  rewards, truncated = exact(rng.normal(size=(5, 4))), np.float64(rng.random((5, 4)) < 0.5)
  expected = rewards.copy()
  for at in np.ndindex(rewards.shape):
    if truncated[at]:
      expected[at] *= factor
  found = run(partial(shaping.scale_truncated, factor=factor), dtype, rewards, truncated)
  assert_close(found, expected, tolerance)
  assert shaping.scale_truncated(jnp.array([1]), jnp.array([1]))[0] == np.float32(0.1)


def test_a_truncated_reward_is_not_read():
  result = shaping.zero_truncated(jnp.full((2, 2), jnp.nan), jnp.ones((2, 2)))
  np.testing.assert_array_equal(result, 0.0)


@pytest.mark.parametrize('shape', [(2, 2, 3), (4, 3)])
def test_mask_truncated_empties_whole_rows_in_both_layouts(shape):
  mask = jnp.ones(shape).at[..., 2].set(0.0)
  truncated = TRUNCATED.reshape(shape[:-1])
  result = shaping.mask_truncated(mask, truncated)
  np.testing.assert_array_equal(result, mask * (1 - truncated[..., None]))
  assert result.dtype == mask.dtype


def test_shapes_must_belong_together():
  with pytest.raises(AssertionError):
    shaping.mask_truncated(jnp.ones((2, 2, 3)), jnp.ones((2, 3)))
  with pytest.raises(AssertionError):
    shaping.zero_truncated(jnp.ones((2, 2)), jnp.ones(2))
