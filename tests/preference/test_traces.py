"""Losses of traces and ranked candidates against NumPy loops."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import assert_close, both_precisions, exact, run

from rljax import preference

RNG = np.random.default_rng(0)
P, G = 7, 5
LOGP = exact(-RNG.exponential(20.0, (P, G)))
LENGTHS = np.float64(RNG.integers(0, 9, (P, G)))
REWARDS = exact(RNG.choice([0.0, 0.1, 1.0], (P, G)))
REWARDS[0] = 0.1  # no pair
WHERE = (RNG.random((P, G)) < 0.7).astype(np.float64)
WHERE[1], WHERE[2] = 0.0, [0, 0, 1, 0, 0]


def slow_rrhf(gamma, rank_coef):
  loss, gradient = np.zeros(P), np.zeros((P, G))
  for p in range(P):
    rows = [i for i in range(G) if WHERE[p, i]]
    n = {i: max(LENGTHS[p, i], 1) for i in rows}
    for i in rows:
      for j in rows:
        lead = LOGP[p, i] / n[i] ** gamma - LOGP[p, j] / n[j] ** gamma
        if REWARDS[p, i] < REWARDS[p, j] and lead > 0:
          loss[p] += rank_coef * lead
          gradient[p, i] += rank_coef / n[i] ** gamma
          gradient[p, j] -= rank_coef / n[j] ** gamma
    if rows:
      best = next(i for i in rows if REWARDS[p, i] == max(REWARDS[p, rows]))
      loss[p] -= LOGP[p, best] / n[best]
      gradient[p, best] -= 1 / n[best]
  return loss, gradient


@both_precisions
@pytest.mark.parametrize(('gamma', 'rank_coef'), [(1.0, 1.0), (0.5, 100.0)])
def test_rrhf_equals_a_loop(dtype, tolerance, gamma, rank_coef):
  loss, gradient = slow_rrhf(gamma, rank_coef)
  fn = functools.partial(preference.rrhf, gamma=gamma, rank_coef=rank_coef)
  args = LOGP, LENGTHS, REWARDS, WHERE
  assert_close(run(fn, dtype, *args), loss, tolerance, each=False)
  found = run(jax.grad(lambda *x: fn(*x).sum()), dtype, *args)
  assert_close(found, gradient, tolerance, each=False)
  assert loss[1] == 0 and (gradient[1] == 0).all()


def test_rrhf_of_equal_rewards_imitates_the_first():
  logp = jnp.array([[-2.0, -1.0, -6.0]])
  lengths, rewards = jnp.array([[2.0, 1.0, 3.0]]), jnp.full((1, 3), 0.1)
  loss, gradient = jax.value_and_grad(lambda x: preference.rrhf(x, lengths, rewards).sum())(logp)
  assert float(loss) == 1.0
  np.testing.assert_array_equal(gradient, [[-0.5, 0.0, 0.0]])


@both_precisions
@pytest.mark.parametrize(('alpha', 'gamma'), [(0.8, 0.0), (1.0, 0.5), (0.0, 0.0)])
def test_redi_equals_a_loop(dtype, tolerance, alpha, gamma):
  s = exact(-RNG.exponential(1.0, (6, 2)))
  right = np.tile([1.0, 0.0], (6, 1))
  value, slope = np.zeros(s.shape), np.zeros(s.shape)
  for p in range(6):
    value[p] = -s[p, 0], alpha * s[p, 1] * np.exp(gamma * s[p, 1])
    slope[p] = -1, alpha * np.exp(gamma * s[p, 1]) * (1 + gamma * s[p, 1])
  fn = functools.partial(preference.redi, alpha=alpha, gamma=gamma)
  assert_close(run(fn, dtype, s, right), value, tolerance)
  found = run(jax.grad(lambda *x: fn(*x).sum()), dtype, s, right)
  assert_close(found, slope, 10 * tolerance, each=False)
