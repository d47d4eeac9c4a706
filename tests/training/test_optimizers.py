"""Schedules by their values, and what AdamW does with a gradient."""

import math

import numpy as np
import optax
import pytest

from rljax.training import optimizers


def values(schedule, steps):
  return [float(schedule(step)) for step in steps]


def test_constant_without_warmup_is_the_rate_from_the_first_step():
  assert values(optimizers.schedule(0.3), (0, 1, 1000)) == pytest.approx([0.3] * 3)


def test_warmup_rises_evenly_and_its_first_step_is_not_lost():
  rate = optimizers.schedule(0.4, warmup_steps=4)
  assert values(rate, range(7)) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.4, 0.4])


def test_one_step_of_warmup_is_no_warmup():
  assert values(optimizers.schedule(0.4, warmup_steps=1), range(3)) == pytest.approx([0.4] * 3)


@pytest.mark.parametrize('warmup', [0, 3])
def test_cosine_falls_to_zero_at_the_last_step(warmup):
  rate = optimizers.schedule(0.2, kind='cosine', warmup_steps=warmup, total_steps=11)
  steps = 11 - warmup
  expected = [0.2 * (i + 1) / warmup for i in range(warmup)]
  expected += [0.1 * (1 + math.cos(math.pi * i / steps)) for i in range(steps + 1)]
  assert values(rate, range(12)) == pytest.approx(expected, abs=1e-7)
  assert values(rate, (11, 50)) == pytest.approx([0.0, 0.0], abs=1e-8)


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ({'kind': 'linear'}, "'linear'; expected 'constant' or 'cosine'"),
    ({'kind': 'cosine', 'warmup_steps': 5, 'total_steps': 5}, '5 steps cannot hold 5 steps'),
    ({'kind': 'cosine'}, '0 steps'),
    ({'warmup_steps': -1}, 'warmup_steps is -1'),
  ],
)
def test_impossible_schedules_are_refused(arguments, message):
  with pytest.raises(ValueError, match=message):
    optimizers.schedule(0.1, **arguments)


PARAMS = {'a': np.float32([1.0, -2.0]), 'b': np.float32([[0.5]])}
GRADS = {'a': np.float32([3.0, 4.0]), 'b': np.float32([[-12.0]])}  # norm 13


def first_moment(tx):
  _, state = tx.update(GRADS, tx.init(PARAMS), PARAMS)
  adam = next(s for s in state[1] if isinstance(s, optax.ScaleByAdamState))
  return adam.mu


@pytest.mark.parametrize(('clip_norm', 'factor'), [(0.0, 1.0), (1.0, 1 / 13), (20.0, 1.0)])
def test_clip_norm_is_the_largest_global_norm_and_zero_means_none(clip_norm, factor):
  moment = first_moment(optimizers.adamw(0.1, b1=0.9, clip_norm=clip_norm))
  for name, grad in GRADS.items():
    np.testing.assert_allclose(moment[name], 0.1 * factor * grad, rtol=1e-5)


def test_three_steps_of_adamw_equal_loops():
  tx = optimizers.adamw(
    optimizers.schedule(0.1, warmup_steps=2),
    b1=0.8,
    b2=0.9,
    eps=1e-3,
    weight_decay=0.05,
    clip_norm=0.0,
  )
  params, state = PARAMS, tx.init(PARAMS)
  p, m, v = -2.0, 0.0, 0.0  # the second entry of `a`
  for step, rate in enumerate((0.05, 0.1, 0.1), start=1):
    updates, state = tx.update(GRADS, state, params)
    params = optax.apply_updates(params, updates)
    m, v = 0.8 * m + 0.2 * 4.0, 0.9 * v + 0.1 * 16.0
    direction = m / (1 - 0.8**step) / (math.sqrt(v / (1 - 0.9**step)) + 1e-3)
    p -= rate * (direction + 0.05 * p)
    assert float(params['a'][1]) == pytest.approx(p, rel=1e-5)
