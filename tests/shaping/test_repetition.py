"""Penalties of repeated token sequences against loops over sets of tuples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import both_precisions, run

from rljax import shaping


def slow(tokens, mask, size):
  """Where sequences begin that came before, where any does, and what the former cover."""
  repeated, real, covered = [], [], set()
  seen = set()
  for i in range(len(tokens) - size + 1):
    if all(mask[i : i + size]):
      real.append(i)
      gram = tuple(tokens[i : i + size])
      if gram in seen:
        repeated.append(i)
        covered |= set(range(i, i + size))
      seen.add(gram)
  return repeated, real, covered


def tables(tokens, mask, size, dense=-0.05, scalar=-1.0):
  per_token, share = np.zeros(tokens.shape), np.zeros(len(tokens))
  for row in range(len(tokens)):
    repeated, real, covered = slow(tokens[row].tolist(), mask[row].tolist(), size)
    per_token[row, sorted(covered)] = dense
    if real:
      share[row] = scalar * len(repeated) / len(real)
  return per_token, share


def problem(seed, width=40, rows=6, words=3):
  rng = np.random.default_rng(seed)
  tokens = rng.integers(0, words, (rows, width)).astype(np.int32)
  tokens[0], tokens[1] = 1, np.arange(width)
  tokens[2] = np.tile(np.arange(8), width)[:width]
  mask = (np.arange(width) < rng.integers(1, width + 1, (rows, 1))).astype(np.float64)
  mask[:3] = 1.0
  mask[3, width // 2] = 0.0  # a hole
  tokens[mask == 0] = -1
  return tokens, mask


@both_precisions
@pytest.mark.parametrize('size', [1, 2, 3, 4, 5, 8, 13, 40, 41])
def test_both_penalties_equal_a_loop(dtype, tolerance, size):
  tokens, mask = problem(size)
  per_token, share = tables(tokens, mask, size)
  found = run(lambda t, m: shaping.repetition_per_token(t, m, size=size), dtype, tokens, mask)
  np.testing.assert_allclose(found, per_token, rtol=tolerance)
  found = run(lambda t, m: shaping.repetition(t, m, size=size), dtype, tokens, mask)
  np.testing.assert_allclose(found, share, rtol=tolerance)
  if size < 20:
    assert per_token.any() and share.any()


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 2), min_size=12, max_size=12), st.sampled_from([2, 3, 7]))
def test_no_two_different_sequences_are_taken_for_equal(tokens, size):
  tokens = np.array([tokens], np.int32)
  per_token, _ = tables(tokens, np.ones((1, 12)), size)
  found = jax.jit(shaping.repetition_per_token, static_argnames='size')(
    tokens, jnp.ones((1, 12)), size=size
  )
  np.testing.assert_allclose(found, per_token, rtol=1e-6)


def test_thousands_of_tokens_take_memory_for_a_few_arrays_of_them():
  tokens = jax.ShapeDtypeStruct((4, 8192), jnp.int32)
  fn = jax.jit(shaping.repetition_per_token)
  memory = fn.lower(tokens, tokens).compile().memory_analysis()
  assert memory.temp_size_in_bytes < 100 * 4 * 8192 * 4


def test_axes_before_the_tokens_are_free_and_a_size_of_nothing_is_refused():
  tokens, mask = problem(5)
  whole = shaping.repetition_per_token(tokens, mask, size=3)
  folded = shaping.repetition_per_token(
    tokens.reshape(2, 3, -1), mask.reshape(2, 3, -1), size=3
  ).reshape(whole.shape)
  np.testing.assert_array_equal(whole, folded)
  with pytest.raises(ValueError, match='1 at least, not 0'):
    shaping.repetition(tokens, mask, size=0)
