"""CURE's branch points against a loop over positions, and against frequencies."""

import jax
import jax.numpy as jnp
import numpy as np
from parity import exact, random_mask

from rljax import selection

RNG = np.random.default_rng(0)
SHAPE = (6, 12)
ENTROPY = exact(RNG.exponential(1, SHAPE))
ENTROPY[3] = 0.5  # ties
ALLOWED = random_mask(RNG, SHAPE)


def slow_tokens(top_k):
  out = np.zeros(SHAPE, bool)
  for i in range(SHAPE[0]):
    order = sorted(range(SHAPE[1]), key=lambda t, i=i: -ENTROPY[i, t])  # stable
    usable = [t for t in order if t > 0 and ALLOWED[i, t]]
    out[i, usable[:top_k]] = True
  return out


def test_critical_tokens_equal_a_loop():
  for top_k in (1, 3, 20):
    expected = slow_tokens(top_k)
    for entropy in (ENTROPY, np.where(ALLOWED > 0, ENTROPY, np.nan)):
      found = selection.critical_tokens(jnp.float32(entropy), jnp.float32(ALLOWED), top_k=top_k)
      np.testing.assert_array_equal(found, expected)
    assert expected.any() and not expected[:, 0].any()


def test_every_critical_token_is_drawn_equally_often():
  draws = 4000
  keys = jax.random.split(jax.random.key(0), draws)
  points = jax.jit(
    jax.vmap(
      lambda key: selection.branch_points(key, jnp.float32(ENTROPY), jnp.float32(ALLOWED), top_k=3)
    )
  )(keys)
  assert points.dtype == jnp.int32 and points.shape == (draws, SHAPE[0])
  for i, row in enumerate(slow_tokens(3)):
    counts = np.bincount(np.asarray(points[:, i]), minlength=SHAPE[1]) / draws
    expected = row / row.sum() if row.any() else np.eye(SHAPE[1])[0]  # nothing: from the start
    np.testing.assert_allclose(counts, expected, atol=0.04)


def test_special_tokens_and_those_of_one_character_are_not_critical():
  words = [b'ab', b' a', b' ab ', b'', b'\n\n', b'<eos>', b'\xe2\x88', 'é'.encode(), 'né'.encode()]
  expected = [True, False, True, False, False, False, False, False, True]
  np.testing.assert_array_equal(selection.critical_words(words, special={5}), expected)
