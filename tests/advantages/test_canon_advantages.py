"""CANON: halves of a group by a metric."""

import functools
import math

import jax.numpy as jnp
import numpy as np
import pytest
from grouped import REWARDS, RNG, SHAPE, check, each
from parity import both_precisions, exact

from rljax import advantages

METRIC = exact(RNG.permutation(np.prod(SHAPE)).reshape(SHAPE) / 7)


def slow_canon(rewards, metric, mu=1.0, alpha_high=1.0, alpha_low=1.0):
  n = len(rewards)
  if n == 1:
    return [0.0]
  order = sorted(range(n), key=lambda i: metric[i])
  low, high = order[: n // 2], order[n // 2 :]
  mean_low = sum(rewards[i] for i in low) / len(low)
  mean_high = sum(rewards[i] for i in high) / len(high)
  out = []
  for i, r in enumerate(rewards):
    if i in low:
      inter, intra = alpha_low * r - alpha_high * mean_high, r - mean_low
    else:
      inter, intra = alpha_high * r - alpha_low * mean_low, r - mean_high
    out.append(mu * inter + (1 - mu) * intra)
  equal = min(rewards) == max(rewards) and alpha_high == alpha_low == 1.0
  return [0.0] * n if equal else out


@both_precisions
@pytest.mark.parametrize('kwargs', [{}, {'mu': 0.3, 'alpha_high': 0.8, 'alpha_low': 0.9}])
def test_canon_equals_a_loop(dtype, tolerance, kwargs):
  fn = functools.partial(advantages.canon, **kwargs)
  check(dtype, tolerance, fn, each(functools.partial(slow_canon, **kwargs)), REWARDS, METRIC)


def test_equal_metrics_keep_the_order_of_the_samples_and_an_odd_one_is_high():
  rewards = jnp.array([[1.0, 0.0, 1.0, 0.0, 0.0]])
  found = advantages.canon(rewards, jnp.full((1, 5), 2.0))
  low, high = 0.5, 1 / 3
  expected = [1 - high, -high, 1 - low, -low, -low]
  np.testing.assert_allclose(found, [expected], rtol=1e-6)


def test_half_of_each_comparison_is_dr_grpo_for_even_groups():
  rewards = jnp.array([[1.0, 0.0, 0.0, 0.3, 0.5, 1.0]])
  metric = jnp.array([[3.0, 1.0, 6.0, 2.0, 5.0, 4.0]])
  found = advantages.canon(rewards, metric, mu=0.5)
  np.testing.assert_allclose(found, advantages.center(rewards), atol=1e-6)


def test_a_discount_survives_in_a_solved_group_and_nothing_else_does():
  metric = jnp.array([[4.0, 1.0, 3.0, 2.0]])
  np.testing.assert_array_equal(advantages.canon(jnp.full((1, 4), 0.1), metric), 0.0)
  found = advantages.canon(jnp.ones((1, 4)), metric, alpha_high=0.75)
  np.testing.assert_array_equal(found, [[-0.25, 0.25, -0.25, 0.25]])


def test_a_group_of_one_gives_zero():
  np.testing.assert_array_equal(advantages.canon(jnp.ones((2, 1)), jnp.ones((2, 1))), 0.0)


def slow_intra_share(step, reverse):
  largest, least = (1.0, 0.4) if reverse else (0.6, 0.0)
  if step < 30:
    share = largest * (step + 1) / 30
  else:
    share = least + 0.5 * (largest - least) * (1 + math.cos(math.pi * ((step - 30) % 40) / 40))
  return 1 - share if reverse else share


@pytest.mark.parametrize('step', [0, 13, 29, 30, 50, 69, 70, 149, 171])
def test_the_schedules_equal_the_formula(step):
  forward = 1 - advantages.cosine_mu(jnp.int32(step))
  np.testing.assert_allclose(forward, slow_intra_share(step, False), atol=1e-6)
  backward = 1 - advantages.cosine_mu_reversed(jnp.int32(step))
  np.testing.assert_allclose(backward, slow_intra_share(step, True), atol=1e-6)


def test_the_schedules_turn_after_the_warm_up_and_restart():
  steps = jnp.array([29, 30, 50, 70])
  np.testing.assert_allclose(advantages.cosine_mu(steps), [0.4, 0.4, 0.7, 0.4], atol=1e-6)
  reverse = advantages.cosine_mu_reversed(steps)
  np.testing.assert_allclose(reverse, [1.0, 1.0, 0.7, 1.0], atol=1e-6)
