import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import assert_close, both_precisions, exact, run

from rljax import surrogates

RNG = np.random.default_rng(0)
SHAPE = (4, 50)
OLD = exact(RNG.normal(size=SHAPE))
VALUES = exact(OLD + RNG.normal(0, 0.6, SHAPE))  # half of them further away than the clip
RETURNS = exact(OLD + RNG.normal(size=SHAPE))
CLIP = 0.375


def slow(clip):
  """Loss and derivative in the value, token by token."""
  loss, slope, held_by_clip = np.zeros(SHAPE), np.zeros(SHAPE), np.zeros(SHAPE)
  for i in np.ndindex(SHAPE):
    v, old, target = VALUES[i], OLD[i], RETURNS[i]
    held = min(max(v, old - clip), old + clip)
    loss[i] = 0.5 * max((v - target) ** 2, (held - target) ** 2)
    held_by_clip[i] = (held - target) ** 2 > (v - target) ** 2
    slope[i] = 0.0 if held_by_clip[i] else v - target
  return loss, slope, held_by_clip


def clipped(values, old, returns):
  return surrogates.clipped_value(values, old, returns, clip=CLIP)


@both_precisions
def test_losses_equal_a_loop(dtype, tolerance):
  loss, _, held = slow(CLIP)
  assert 0.1 < held.mean() < 0.9
  assert_close(run(clipped, dtype, VALUES, OLD, RETURNS), loss, tolerance)
  plain = run(surrogates.squared_value, dtype, VALUES, RETURNS)
  assert_close(plain, [[0.5 * (v - r) ** 2 for v, r in zip(*rows, strict=True)]
                       for rows in zip(VALUES, RETURNS, strict=True)], tolerance)  # fmt: skip


@both_precisions
def test_gradients_are_in_closed_form(dtype, tolerance):
  _, slope, held = slow(CLIP)
  grad = jax.grad(lambda *args: clipped(*args).sum())
  found = run(grad, dtype, VALUES, OLD, RETURNS)
  assert_close(found, slope, tolerance)
  assert (found[held > 0] == 0).all()
  grad = jax.grad(lambda *args: surrogates.squared_value(*args).sum())
  assert_close(run(grad, dtype, VALUES, RETURNS), VALUES - RETURNS, tolerance)


def test_at_the_old_value_it_is_the_plain_squared_error():
  values, returns = jnp.float32(VALUES), jnp.float32(RETURNS)
  plain = jax.value_and_grad(lambda v: surrogates.squared_value(v, returns).sum())(values)
  for clip in (0.5, 0.0):
    found = jax.value_and_grad(
      lambda v, clip=clip: surrogates.clipped_value(v, values, returns, clip=clip).sum()
    )(values)
    jax.tree.map(np.testing.assert_array_equal, found, plain)


def test_the_default_clip_is_a_half():
  values = jnp.array([[0.5, 0.75, -0.75]])
  loss = surrogates.clipped_value(values, jnp.zeros((1, 3)), jnp.ones((1, 3)))
  # Within; held at 0.5, which is worse than 0.75; held at -0.5, which is better than -0.75.
  np.testing.assert_array_equal(loss, [[0.125, 0.125, 1.53125]])


def test_old_values_and_returns_are_constants():
  args = tuple(map(jnp.float32, (VALUES, OLD, RETURNS)))
  for slope in jax.grad(lambda *args: clipped(*args).sum(), argnums=(1, 2))(*args):
    np.testing.assert_array_equal(slope, 0.0)
  slope = jax.grad(lambda r: surrogates.squared_value(args[0], r).sum())(args[2])
  np.testing.assert_array_equal(slope, 0.0)


def test_shapes_must_agree():
  with pytest.raises(AssertionError):
    surrogates.clipped_value(jnp.ones((2, 3)), jnp.ones((2, 3)), jnp.ones((2, 1)))
