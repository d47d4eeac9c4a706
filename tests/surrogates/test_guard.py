"""Normalised log-ratios against loops over buckets and tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import assert_close, both_precisions, exact, random_mask, run

from rljax import ratios, surrogates

RNG = np.random.default_rng(0)
SHAPE, BUCKETS = (6, 7), 4
LR = exact(RNG.normal(0.3, 0.2, SHAPE))
LR[0] = exact([-25, 24, -20.5, 19, -3, 0, 1])
BUCKET = RNG.integers(0, BUCKETS - 1, SHAPE)  # the last one is empty
BUCKET[4, 3] = BUCKETS - 1  # but for one token
MASK = random_mask(RNG, SHAPE)
MASK[4, 3] = 1.0


def slow_moments(lr, mask):
  center, spread, counts = np.zeros(BUCKETS), np.zeros(BUCKETS), np.zeros(BUCKETS)
  for b in range(BUCKETS):
    x = [lr[i, t] for i, t in np.ndindex(SHAPE) if mask[i, t] and BUCKET[i, t] == b]
    if x:
      center[b] = sum(x) / len(x)
      spread[b] = sum((v - center[b]) ** 2 for v in x) / len(x)
      counts[b] = len(x)
  pooled = np.sqrt((counts * spread).sum() / max(counts.sum(), 1))
  scale = [np.sqrt(s) / pooled if np.sqrt(s) > 1e-8 else 1.0 for s in spread]
  return center, np.array(scale)


@both_precisions
def test_moments_equal_a_loop(dtype, tolerance):
  center, scale = slow_moments(LR, MASK)
  found = run(
    lambda x, m: jnp.stack(surrogates.bucket_moments(x, BUCKET, m, buckets=BUCKETS)),
    dtype,
    LR,
    MASK,
  )
  assert scale[-1] == 1  # one token has no deviation
  assert_close(found, np.stack([center, scale]), tolerance, each=False)


@both_precisions
def test_the_regulated_ratio_equals_a_loop_and_has_one_spread(dtype, tolerance):
  center, scale = slow_moments(LR, MASK)
  expected = np.zeros(SHAPE)
  for i, t in np.ndindex(SHAPE):
    expected[i, t] = (LR[i, t] - center[BUCKET[i, t]]) / scale[BUCKET[i, t]]

  def regulate(x, m):
    moments = surrogates.bucket_moments(x, BUCKET, m, buckets=BUCKETS)
    return surrogates.regulated(x, BUCKET, *moments)

  found = run(regulate, dtype, LR, MASK)
  assert_close(found, expected, tolerance, each=False)
  spread = [found[(b == BUCKET) & (MASK > 0)].std() for b in range(BUCKETS - 1)]
  np.testing.assert_allclose(spread, spread[0], rtol=1e-4)


def test_equal_log_ratios_of_a_bucket_leave_scale_and_weight_one():
  for value in (0.0, 0.1, 3.3):
    center, scale = surrogates.bucket_moments(
      jnp.full((1, 3), value), jnp.zeros((1, 3), int), jnp.ones((1, 3)), buckets=1
    )
    np.testing.assert_array_equal(scale, 1.0)
    np.testing.assert_allclose(center, value, rtol=1e-6)


def test_the_scaled_loss_has_the_gradient_of_an_ordinary_one_at_the_new_ratio():
  advantages = jnp.float32(RNG.choice([-1.0, 1.0], (SHAPE[0], 1)))
  lr = jnp.float32(LR)
  center, scale = surrogates.bucket_moments(lr, BUCKET, jnp.float32(MASK), buckets=BUCKETS)

  def new(lr):
    x = surrogates.regulated(lr, BUCKET, center, scale)
    return ratios.token(x, jnp.zeros_like(x))

  def loss(lr):
    return (scale[BUCKET] * surrogates.clipped(new(lr), advantages)).sum()

  expected = jax.grad(lambda r: surrogates.clipped(r, advantages).sum())(new(lr)) * new(lr)
  inside = np.abs(surrogates.regulated(lr, BUCKET, center, scale)) < 20
  found = jax.grad(loss)(lr)
  np.testing.assert_allclose(found, np.where(inside, expected, 0), rtol=1e-5, atol=1e-6)
  assert (np.asarray(found) != 0).sum() > 5


def test_buckets_of_position_do_not_depend_on_padding():
  found = surrogates.position_bucket(jnp.ones((2, 10)), buckets=3, max_length=9)
  np.testing.assert_array_equal(found[0], [0, 0, 0, 1, 1, 1, 2, 2, 2, 2])
  narrow = surrogates.position_bucket(jnp.ones((2, 5)), buckets=3, max_length=9)
  np.testing.assert_array_equal(narrow, found[:, :5])


@pytest.mark.parametrize(('buckets', 'max_length'), [(0, 4), (2, 0)])
def test_no_bucket_and_no_length_are_refused(buckets, max_length):
  with pytest.raises(ValueError, match='must be positive'):
    surrogates.position_bucket(jnp.ones((1, 1)), buckets=buckets, max_length=max_length)
