"""OPO, ReMax, batch-wide scales, NGRPO, and the edges of GRPO, Dr. GRPO and RLOO."""

import functools
import math

import jax.numpy as jnp
import numpy as np
import pytest
from grouped import LENGTHS, REWARDS, WHERE, check, each
from parity import assert_close, both_precisions, exact, random_mask, run

from rljax import advantages

RNG = np.random.default_rng(3)
MASK = random_mask(RNG, (5, 4, 6))
CENTRED = exact(RNG.normal(size=(5, 4)))
CENTRED[2] = 0.0  # a group without spread


def slow_opo(rewards, lengths):
  if min(rewards) == max(rewards):
    return [0.0] * len(rewards)
  tokens = sum(lengths)
  if tokens:
    baseline = sum(n * r for n, r in zip(lengths, rewards, strict=True)) / tokens
  else:
    baseline = sum(rewards) / len(rewards)
  return [r - baseline for r in rewards]


def slow_ngrpo(rewards, max_reward=1.0, n_virtual=1, eps=1e-6, ddof=1):
  everyone = rewards + [max_reward] * n_virtual
  if min(everyone) == max(everyone):
    return [0.0] * len(rewards)
  mean = sum(everyone) / len(everyone)
  variance = sum((r - mean) ** 2 for r in everyone) / (len(everyone) - ddof)
  return [(r - mean) / (math.sqrt(variance) + eps) for r in rewards]


def slow_raw_grpo(rewards):
  if len(rewards) == 1:
    return rewards
  return slow_ngrpo(rewards, n_virtual=0)


def standardised(values, eps=1e-8):
  if len(values) < 2 or min(values) == max(values):
    return [0.0] * len(values)
  mean = sum(values) / len(values)
  variance = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
  return [(v - mean) / math.sqrt(variance + eps) for v in values]


def slow_whiten_tokens(centred, mask):
  at = [tuple(i) for i in np.argwhere(mask > 0)]
  out = np.zeros(mask.shape)
  for i, v in zip(at, standardised([centred[i[:-1]] for i in at]), strict=True):
    out[i] = v
  return out


def slow_whiten_sequences(centred, mask):
  at = [i for i in np.ndindex(centred.shape) if mask[i].any()]
  out = np.zeros(mask.shape)
  for i, v in zip(at, standardised([centred[i] for i in at]), strict=True):
    out[i] = np.where(mask[i] > 0, v, 0.0)
  return out


def slow_center(rewards):
  mean = sum(rewards) / len(rewards)
  return [r - mean if min(rewards) < max(rewards) else 0.0 for r in rewards]


def slow_rloo(rewards):
  n = len(rewards)
  if min(rewards) == max(rewards):
    return [0.0] * n
  return [r - sum(rewards[:i] + rewards[i + 1 :]) / (n - 1) for i, r in enumerate(rewards)]


@both_precisions
@pytest.mark.parametrize(
  ('fn', 'slow'),
  [
    (advantages.grpo, functools.partial(slow_ngrpo, n_virtual=0)),
    (advantages.center, slow_center),
    (advantages.rloo, slow_rloo),
  ],
)
def test_ragged_and_interleaved_groups_equal_a_loop(dtype, tolerance, fn, slow):
  check(dtype, tolerance, fn, each(slow), REWARDS)


@both_precisions
def test_opo_equals_a_loop(dtype, tolerance):
  check(dtype, tolerance, advantages.opo, each(slow_opo), REWARDS, LENGTHS)


@both_precisions
@pytest.mark.parametrize('kwargs', [{}, {'max_reward': 2.0, 'n_virtual': 3, 'ddof': 0}])
def test_ngrpo_equals_a_loop(dtype, tolerance, kwargs):
  fn = functools.partial(advantages.ngrpo, **kwargs)
  check(dtype, tolerance, fn, each(functools.partial(slow_ngrpo, **kwargs)), REWARDS)


@both_precisions
def test_raw_rewards_of_singletons_equal_a_loop(dtype, tolerance):
  def fn(rewards, where):
    return advantages.raw_if_alone(advantages.grpo(rewards, where), rewards, where)

  assert WHERE[2].sum() == 1 and REWARDS[2, 2] != 0
  check(dtype, tolerance, fn, each(slow_raw_grpo), REWARDS)


@both_precisions
@pytest.mark.parametrize(
  ('fn', 'slow'),
  [
    (advantages.whiten_tokens, slow_whiten_tokens),
    (advantages.whiten_sequences, slow_whiten_sequences),
  ],
)
def test_whitening_equals_a_loop(dtype, tolerance, fn, slow):
  found = run(fn, dtype, CENTRED, MASK)
  assert_close(found, slow(CENTRED, MASK), tolerance, each=False)
  assert (found[MASK == 0] == 0).all()


@both_precisions
def test_lite_ppo_equals_a_loop(dtype, tolerance):
  rewards, where = exact(RNG.normal(size=(5, 4))), (RNG.random((5, 4)) < 0.6).astype(float)
  values = rewards[where > 0].tolist()
  mean = sum(values) / len(values)
  scale = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1)) + 1e-4
  found = run(advantages.over_batch_std, dtype, CENTRED, rewards, where)
  assert_close(found, CENTRED / scale, tolerance)
  assert (found[2] == 0).all()  # unlike REINFORCE++-baseline, a group without spread stays at 0


@both_precisions
def test_remax_equals_a_loop(dtype, tolerance):
  token_rewards, greedy = exact(RNG.normal(size=MASK.shape)), exact(RNG.normal(size=(5, 4)))
  expected = np.zeros(MASK.shape)
  for i in np.ndindex(5, 4):
    for t in np.flatnonzero(MASK[i]):
      later = [token_rewards[i][u] for u in range(t, MASK.shape[-1]) if MASK[i][u]]
      expected[i][t] = sum(later) - greedy[i]
  spoilt = np.where(MASK > 0, token_rewards, np.nan)
  assert_close(run(advantages.remax, dtype, spoilt, greedy, MASK), expected, tolerance, each=False)


def test_remax_of_an_outcome_is_reward_less_greedy_reward_on_every_token():
  mask = jnp.array([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
  rewards, greedy = jnp.array([1.0, 0.0, 1.0, 1.0]), jnp.array([0.0, 1.0, 1.0, 0.0])
  found = advantages.remax(advantages.outcome_to_tokens(rewards, mask), greedy, mask)
  np.testing.assert_array_equal(found, [[1, 1, 0], [-1, 0, -1], [0, 0, 0], [0, 0, 0]])


def test_opo_by_hand():
  rewards, lengths = jnp.array([[1.0, 0.0, 0.0]]), jnp.array([[2.0, 1.0, 5.0]])
  found = advantages.opo(rewards, lengths)
  np.testing.assert_allclose(found, [[0.75, -0.25, -0.25]])
  assert float(jnp.sum(found * lengths)) == pytest.approx(0, abs=1e-6)
  equal = advantages.opo(rewards, jnp.full((1, 3), 7.0))
  np.testing.assert_allclose(equal, advantages.center(rewards), rtol=1e-6)
  none = advantages.opo(rewards, jnp.zeros((1, 3)))
  np.testing.assert_allclose(none, advantages.center(rewards), rtol=1e-6)


@pytest.mark.parametrize('size', [1, 2, 8])
def test_ngrpo_pushes_a_group_of_wrong_answers_down(size):
  wrong = advantages.ngrpo(jnp.zeros((1, size)), eps=0.0)
  np.testing.assert_allclose(wrong, -1 / math.sqrt(size + 1), rtol=1e-6)
  np.testing.assert_array_equal(advantages.ngrpo(jnp.ones((1, size))), 0.0)
  np.testing.assert_array_equal(advantages.ngrpo(jnp.full((1, size), 0.1), max_reward=0.1), 0.0)


def test_ngrpo_of_eight_wrong_answers_is_minus_a_third():
  np.testing.assert_allclose(advantages.ngrpo(jnp.zeros((1, 8))), -1 / 3, rtol=1e-5)


def test_ngrpo_sums_to_minus_the_standardised_imagined_sample():
  rewards = jnp.array([[1.0, 0.0, 0.0, 1.0, 0.0]])
  everyone = np.array([1, 0, 0, 1, 0, 1.0])
  expected = -(1 - everyone.mean()) / everyone.std(ddof=1)
  assert float(advantages.ngrpo(rewards, eps=0.0).sum()) == pytest.approx(expected, rel=1e-5)


def test_a_batch_without_spread_gives_exactly_zero():
  centred = advantages.center(jnp.full((3, 3), 0.1))
  mask = jnp.ones((3, 3, 2))
  for fn in (advantages.whiten_tokens, advantages.whiten_sequences):
    np.testing.assert_array_equal(fn(centred, mask), 0.0)
  np.testing.assert_array_equal(
    advantages.over_batch_std(centred, jnp.full((3, 3), 0.1), eps=0.0), 0.0
  )


def test_nothing_to_count_gives_exactly_zero():
  centred, mask = jnp.array([1.0, -1.0]), jnp.zeros((2, 3))
  for fn in (advantages.whiten_tokens, advantages.whiten_sequences):
    np.testing.assert_array_equal(fn(centred, mask), 0.0)
    np.testing.assert_array_equal(fn(centred, mask.at[0, 0].set(1.0)), 0.0)


def test_whitened_tokens_shift_a_group_without_spread_and_whitened_sequences_do_not():
  centred = jnp.array([[0.5, -0.5], [0.0, 0.0]])
  mask = jnp.ones((2, 2, 3)).at[0, 1, 1:].set(0.0)  # the right answer is longer
  assert float(advantages.whiten_tokens(centred, mask)[1, 0, 0]) < -0.1
  assert float(advantages.whiten_sequences(centred, mask)[1, 0, 0]) == 0.0


def test_the_biased_deviation_makes_grpo_larger_by_the_root_of_g_over_g_less_one():
  rewards = jnp.array([[1.0, 0.0, 0.3, 0.5, 0.0]])
  unbiased = advantages.grpo(rewards, eps=0.0)
  biased = advantages.grpo(rewards, eps=0.0, ddof=0)
  np.testing.assert_allclose(biased, unbiased * math.sqrt(5 / 4), rtol=1e-6)
