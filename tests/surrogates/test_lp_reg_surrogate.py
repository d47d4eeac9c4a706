"""Lp-Reg's gates and losses against loops over tokens."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import assert_close, both_precisions, exact, random_mask, run

from rljax import surrogates

RNG = np.random.default_rng(0)
SHAPE = (8, 10)
LOGP = exact(-RNG.exponential(1.5, SHAPE))
OLD = exact(LOGP - RNG.normal(0, 0.4, SHAPE))
OLD[0] = exact(LOGP[0] - [-25, 24, -20.5, 19, -3, 0, 3, 2.5, 2.2, -0.5])
PROXY = exact(LOGP + RNG.normal(0.2, 0.5, SHAPE))
PROXY[3, ::2] = -1e4
PROXY[4, 0] = LOGP[4, 0]  # equal: not protected
PROXY[5, 1] = LOGP[5, 1] + 4  # beyond the penalty's limit
ADVANTAGES = exact(RNG.normal(size=(8, 1)))
ADVANTAGES[0], ADVANTAGES[6] = -1.0, 0.0
MASK = random_mask(RNG, SHAPE)


def slow_least(logp, pool, share):
  places = [(logp[i, t], i, t) for i, t in np.ndindex(SHAPE) if pool[i, t]]
  wanted = int(share * len(places))
  return {(i, t) for _, i, t in sorted(places)[:wanted]} if wanted > 1 else set()


def slow_gate(share, everyone):
  out = np.zeros(SHAPE)
  pool = MASK > 0 if everyone else (MASK > 0) & (ADVANTAGES < 0)
  for i, t in slow_least(LOGP, pool, share):
    protected = PROXY[i, t] > -1e4 if everyone else LOGP[i, t] < PROXY[i, t]
    out[i, t] = protected and ADVANTAGES[i, 0] < 0
  return out


@both_precisions
@pytest.mark.parametrize('share', [0.5, 0.9, 0.1, 0.04])
@pytest.mark.parametrize('everyone', [False, True])
def test_gates_equal_a_loop(dtype, tolerance, share, everyone):
  fn = surrogates.lp_gate_of_all if everyone else surrogates.lp_gate
  expected = slow_gate(share, everyone)
  assert (expected.sum() > 0) == (share > 0.3 or (share == 0.1 and expected.sum() > 0))
  dirty = [np.where(MASK > 0, x, np.nan) for x in (LOGP, PROXY)]
  for logp, proxy in ((LOGP, PROXY), dirty):
    found = run(lambda *x: fn(*x, share=share), dtype, logp, proxy, ADVANTAGES, MASK)
    assert_close(found, expected, tolerance)


@pytest.mark.parametrize(
  ('count', 'share', 'wanted'),
  [
    (200, 0.01, 2),
    (199, 0.01, 0),
    (100, 0.01, 0),
    (300, 0.01, 3),
    (600, 0.005, 3),
    (1000, 0.01, 10),
    (100, 0.53, 53),
  ],
)
def test_the_number_of_least_likely_is_rounded_down_and_one_is_none(count, share, wanted):
  logp = jnp.float32(RNG.permutation(count)).reshape(2, -1) if count % 2 == 0 else None
  logp = jnp.float32(RNG.permutation(count))[None] if logp is None else logp
  found = surrogates.least_likely(logp, jnp.ones_like(logp), share=share)
  np.testing.assert_array_equal(found, np.asarray(logp) < wanted)


def slow_lp_reg(gate, beta=0.7, cap=3.0):
  """Loss and gradient in logp."""
  loss, slope = np.zeros(SHAPE), np.zeros(SHAPE)
  for i, t in np.ndindex(SHAPE):
    lr, a = LOGP[i, t] - OLD[i, t], ADVANTAGES[i, 0]
    ratio, free = math.exp(max(-20, min(20, lr))), abs(lr) <= 20
    if gate[i, t]:
      d = max(-20.0, min(20.0, PROXY[i, t] - LOGP[i, t]))
      k3 = math.exp(d) - 1 - d
      loss[i, t] = -a * ratio + beta * min(k3, 10.0)
      slope[i, t] = -a * ratio * free + beta * (1 - math.exp(d)) * (k3 <= 10)
    else:
      held = min(ratio, cap)
      loss[i, t] = max(-a * ratio, -a * held)
      slope[i, t] = -a * ratio * free * (not (a > 0 and ratio > cap))
  return loss, slope


@both_precisions
def test_loss_and_gradient_equal_a_loop(dtype, tolerance):
  gate = (LOGP < PROXY) & (ADVANTAGES < 0) & (RNG.random(SHAPE) < 0.7)
  gate[5, 1] = True
  loss, slope = slow_lp_reg(gate)
  proxy = np.where(gate, PROXY, -1e4)

  def value(logp):
    data = [jnp.asarray(x, logp.dtype) for x in (OLD, ADVANTAGES, proxy, np.float64(gate))]
    return surrogates.lp_reg(logp, *data, beta=0.7, cap=3.0)

  assert_close(run(value, dtype, LOGP), loss, tolerance * 3, each=False)
  found = run(jax.grad(lambda x: value(x).sum()), dtype, LOGP)
  small = np.abs(slope) < 100  # beside entries of e^19 the others would not be looked at
  assert_close(found[small], slope[small], tolerance * 3, each=False)
  assert_close(found, slope, tolerance * 3, each=False)


def test_a_gated_token_on_policy_is_pushed_up_by_the_penalty_alone():
  logp, proxy = jnp.array([[-3.0]]), jnp.array([[-2.5]])
  slope = jax.grad(
    lambda x: surrogates.lp_reg(x, None, jnp.array([[-1.0]]), proxy, jnp.ones((1, 1))).sum()
  )(logp)
  np.testing.assert_allclose(slope, [[1 + 1 - np.exp(0.5)]], rtol=1e-6)


@both_precisions
def test_the_loss_with_a_kl_equals_a_loop(dtype, tolerance):
  gate, kl = np.float64(RNG.random(SHAPE) < 0.3), exact(RNG.exponential(1, SHAPE))
  expected = np.zeros(SHAPE)
  for i, t in np.ndindex(SHAPE):
    ratio = min(math.exp(max(-20, min(20, LOGP[i, t] - OLD[i, t]))), 3.0)
    expected[i, t] = -ratio * ADVANTAGES[i, 0] + 0.7 * gate[i, t] * kl[i, t]
  kl = np.where(gate > 0, kl, np.nan)
  found = run(
    lambda *x: surrogates.lp_reg_of_kl(*x, beta=0.7, cap=3.0),
    dtype,
    LOGP,
    OLD,
    ADVANTAGES,
    kl,
    gate,
  )
  assert_close(found, expected, tolerance, each=False)
