import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import assert_close, both_precisions, exact, random_mask, run

from rljax import token_weights

RNG = np.random.default_rng(13)
MASK = random_mask(RNG, (6, 8))
HINT = (np.arange(8) < np.array([3, 0, 2, 8, 4, 1])[:, None]) * 1.0
ENTROPY = exact(RNG.uniform(0, 2, MASK.shape))


@both_precisions
def test_consistency_equals_a_loop(dtype, tolerance):
  expected = np.ones(MASK.shape)
  for i in range(len(MASK)):
    own = [ENTROPY[i, t] for t in range(8) if MASK[i, t] and not HINT[i, t]]
    for t in range(8):
      if MASK[i, t] and HINT[i, t]:
        mean = sum(own) / len(own) if own else 0.0
        expected[i, t] = math.exp(-abs(ENTROPY[i, t] - mean) / mean) if own else 0.0
  dirty = np.where(MASK > 0, ENTROPY, np.nan)
  found = run(token_weights.hint_consistency, dtype, dirty, HINT, MASK)
  assert_close(found, expected, tolerance)
  assert ((expected > 0) & (expected < 1)).sum() > 3


def test_without_a_continuation_only_hint_tokens_without_entropy_count():
  found = token_weights.hint_consistency(
    jnp.array([[0.0, 0.5, 0.0]]), jnp.array([[1.0, 1.0, 0.0]]), jnp.array([[1.0, 1.0, 1.0]])
  )
  np.testing.assert_array_equal(found, [[1, 0, 1]])


def test_consistency_carries_no_gradient():
  def total(entropy):
    return token_weights.hint_consistency(entropy, HINT, MASK).sum()

  np.testing.assert_array_equal(jax.grad(total)(jnp.asarray(ENTROPY)), 0)


def test_hints_of_failures_are_preserved():
  hint = jnp.array([[1.0, 1.0, 0.0]] * 3)
  found = token_weights.hint_preservation(jnp.array([-0.5, 0.0, 0.5]), hint)
  np.testing.assert_array_equal(found, [[0, 0, 1], [1, 1, 1], [1, 1, 1]])


def test_unlikely_tokens_are_real_and_strictly_below_the_threshold():
  probs = jnp.array([[0.25, 0.5, 0.75, jnp.nan, 0.1]])
  mask = jnp.array([[1.0, 1.0, 1.0, 0.0, 0.0]])
  found = token_weights.unlikely(probs, mask, threshold=0.5)
  np.testing.assert_array_equal(found, [[1, 0, 0, 0, 0]])
  np.testing.assert_array_equal(token_weights.unlikely(probs, mask), [[1, 1, 1, 0, 0]])


def test_copies_share_their_weight_down_to_a_floor():
  copies = jnp.array([1, 2, 8])
  np.testing.assert_allclose(token_weights.copy_discount(copies), [1, 0.5, 0.125])
  np.testing.assert_allclose(token_weights.copy_discount(copies, floor=0.25), [1, 0.5, 0.25])


@pytest.mark.parametrize('width', [0.2, 0.5])
def test_relative_values_are_held_near_one(width):
  values, copies = np.array([0.0, 0.1, 0.19, 0.2, 0.5]), np.array([1.0, 3.0, 2.0, 1.0, 4.0])
  expected = [
    min(max(v / 0.2, 1 - width), 1 + width) / m for v, m in zip(values, copies, strict=True)
  ]
  found = run(
    lambda *a: token_weights.smoothed_value(*a, width=width), 'float64', values, 0.2, copies
  )
  assert_close(found, expected, 1e-10)


def test_without_any_value_only_the_copies_count():
  found = token_weights.smoothed_value(jnp.zeros(2), jnp.float32(0), jnp.array([1.0, 2.0]))
  np.testing.assert_array_equal(found, [1, 0.5])
