import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import assert_close, both_precisions, exact, run

from rljax import surrogates

RNG = np.random.default_rng(0)
P, G = 8, 5
SCORES = exact(RNG.normal(0, 2, (P, G)))
LENGTHS = np.float64(RNG.integers(1, 100, (P, G)))
RIGHT = (RNG.random((P, G)) < 0.5).astype(np.float64)
WRONG = (1 - RIGHT) * (RNG.random((P, G)) < 0.8)
RIGHT[0], WRONG[0] = 1.0, 0.0
RIGHT[1], WRONG[1] = 0.0, 1.0
RIGHT[2], WRONG[2] = 0.0, 0.0
RIGHT[3], WRONG[3] = [1, 0, 0, 0, 0], [0, 1, 1, 1, 0]


def slow(tau=None, lam=None, max_length=100):
  """Loss and gradient of each group."""
  loss, gradient = np.zeros(P), np.zeros((P, G))
  for p in range(P):
    right, wrong = ([i for i in range(G) if side[p, i]] for side in (RIGHT, WRONG))
    if not right or not wrong:
      continue
    up = [np.exp((1 - LENGTHS[p, i] / max_length) / lam) if lam else 1.0 for i in right]
    loss[p] = -sum(u * SCORES[p, i] for u, i in zip(up, right, strict=True)) / sum(up)
    gradient[p, right] = [-u / sum(up) for u in up]
    if tau is None:
      loss[p] += sum(SCORES[p, i] for i in wrong) / len(wrong)
      gradient[p, wrong] = 1 / len(wrong)
    else:
      e = [np.exp(SCORES[p, i] / tau) for i in wrong]
      loss[p] += tau * np.log(sum(e) / len(wrong))
      gradient[p, wrong] = [x / sum(e) for x in e]
  return loss, gradient


@both_precisions
@pytest.mark.parametrize(
  ('fn', 'expected'),
  [
    (surrogates.disco_b, slow()),
    (surrogates.disco, slow(10.0)),
    (functools.partial(surrogates.disco, tau=0.3), slow(0.3)),
    (
      lambda s, r, w: surrogates.drpo(s, r, w, jnp.asarray(LENGTHS, s.dtype), max_length=100),
      slow(10.0, 0.1),
    ),
  ],
  ids=['disco_b', 'disco', 'disco, tau', 'drpo'],
)
def test_loss_and_gradient_equal_a_loop(dtype, tolerance, fn, expected):
  loss, gradient = expected
  assert_close(run(fn, dtype, SCORES, RIGHT, WRONG), loss, 5 * tolerance, each=False)
  found = run(jax.grad(lambda *x: fn(*x).sum()), dtype, SCORES, RIGHT, WRONG)
  assert_close(found, gradient, 5 * tolerance)
  assert (loss[:3] == 0).all() and (loss[3:] != 0).any()


def test_tau_goes_from_the_hardest_wrong_answer_to_the_mean():
  scores = jnp.array([[0.0, 1.0, 3.0, 2.0]])
  right, wrong = jnp.array([[1, 0, 0, 0]]), jnp.array([[0, 1, 1, 1]])
  hard = surrogates.disco(scores, right, wrong, tau=0.01)
  np.testing.assert_allclose(hard, 3 - 0.01 * np.log(3), rtol=1e-6)
  soft = surrogates.disco(scores, right, wrong, tau=1e4)
  np.testing.assert_allclose(soft, surrogates.disco_b(scores, right, wrong), rtol=1e-3)


def test_drpo_with_a_strong_tie_is_disco_and_one_right_answer_has_weight_one():
  sides = jnp.float32(RIGHT), jnp.float32(WRONG)
  lengths = jnp.float32(LENGTHS)
  tied = surrogates.drpo(jnp.float32(SCORES), *sides, lengths, max_length=100, lam=1e6)
  np.testing.assert_allclose(tied, surrogates.disco(jnp.float32(SCORES), *sides), atol=1e-4)
  weights = surrogates.length_weights(lengths, sides[0], max_length=100)
  np.testing.assert_array_equal(weights[3], RIGHT[3])
  np.testing.assert_array_equal(weights[1], 0.0)
  np.testing.assert_allclose(weights.sum(-1)[3:], RIGHT[3:].any(-1), rtol=1e-6)


@both_precisions
@pytest.mark.parametrize('lam', [0.1, 0.5, 1e6])
def test_length_weights_equal_a_loop(dtype, tolerance, lam):
  expected, alike = np.zeros((P, G)), LENGTHS.copy()
  alike[4] = 50
  for p in range(P):
    right = [i for i in range(G) if RIGHT[p, i]]
    grown = [np.exp((1 - alike[p, i] / 100) / lam) for i in right]
    expected[p, right] = [x / sum(grown) for x in grown]
  fn = functools.partial(surrogates.length_weights, max_length=100, lam=lam)
  found = run(fn, dtype, alike, RIGHT)
  assert_close(found, expected, tolerance)
  np.testing.assert_allclose(found[4, RIGHT[4] > 0], 1 / RIGHT[4].sum(), rtol=1e-6)


def test_weights_of_very_different_lengths_are_finite():
  weights = surrogates.length_weights(
    jnp.array([[1.0, 1e6]]), jnp.ones((1, 2)), max_length=100, lam=1e-3
  )
  np.testing.assert_array_equal(weights, [[1.0, 0.0]])


def test_who_is_on_neither_side_is_not_read():
  scores = jnp.where(jnp.asarray(RIGHT + WRONG) > 0, jnp.float32(SCORES), jnp.nan)
  sides = jnp.float32(RIGHT), jnp.float32(WRONG)
  lengths = jnp.float32(LENGTHS)
  for fn in (
    surrogates.disco_b,
    surrogates.disco,
    lambda s, r, w: surrogates.drpo(s, r, w, lengths, max_length=100),
  ):
    value, gradient = jax.value_and_grad(lambda s, fn=fn: fn(s, *sides).sum())(scores)
    assert np.isfinite(value) and np.isfinite(gradient).all()
    assert (np.asarray(gradient)[RIGHT + WRONG == 0] == 0).all()


def test_rows_are_not_taken_for_a_group():
  with pytest.raises(AssertionError):
    surrogates.disco_b(jnp.ones(3), jnp.ones(3), jnp.ones(3))
