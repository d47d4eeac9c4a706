"""Advantages shaped by likelihood: XRPO's sharpening and ProGRPO's confidences."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from parity import assert_close, both_precisions, exact, random_mask, run

from rljax import advantages

RNG = np.random.default_rng(0)
SHAPE = (8, 5)
REWARDS = (RNG.random(SHAPE) < 0.5).astype(np.float64)
REWARDS[3], REWARDS[4] = 0.0, exact(0.1)
WHERE = random_mask(RNG, SHAPE)
SCORE = exact(-RNG.exponential(1.0, SHAPE))
SCORE[5], SCORE[6] = exact(-0.3), exact(RNG.uniform(-24, 25, SHAPE[1]))


def groups(where):
  for p in range(where.shape[0]):
    members = [g for g in range(where.shape[1]) if where[p, g]]
    if members:
      yield p, members


def slow_grpo(rewards, where):
  out = np.zeros(SHAPE)
  for p, members in groups(where):
    values = [rewards[p, g] for g in members]
    if len(set(values)) > 1:
      mean = sum(values) / len(values)
      std = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
      for g in members:
        out[p, g] = (rewards[p, g] - mean) / (std + 1e-6)
  return out


def slow_novelty(score, where):
  out = np.ones(SHAPE)
  for p, members in groups(where):
    mean = sum(score[p, g] for g in members) / len(members)
    for g in members:
      out[p, g] = math.exp(score[p, g] - mean)
  return out


def slow_sharpen(advantage, novelty, lam, kappa):
  out = advantage.copy()
  for at in np.ndindex(out.shape):
    if advantage[at] > 0:
      out[at] += min(max(lam * (1 - novelty[at]), 0.0), kappa * advantage[at])
  return out


def slow_confidence(logp, mask, share):
  out = np.zeros(logp.shape[:-1])
  for at in np.ndindex(out.shape):
    real = sorted(v for v, m in zip(logp[at], mask[at], strict=True) if m)
    if real:
      n = max(1, math.ceil(share * len(real)))
      out[at] = math.exp(sum(real[:n]) / n)
  return out


@both_precisions
def test_novelty_equals_a_loop(dtype, tolerance):
  expected = slow_novelty(SCORE, WHERE)
  actual = run(advantages.novelty, dtype, SCORE, WHERE)
  assert_close(actual, expected, tolerance)
  np.testing.assert_allclose(actual[5][WHERE[5] > 0], 1.0, rtol=3e-7)


@both_precisions
@pytest.mark.parametrize(('lam', 'kappa'), [(1.0, 1.0), (3.0, 0.5), (0.1, 2.0)])
def test_sharpening_equals_a_loop(dtype, tolerance, lam, kappa):
  advantage, novelty = exact(slow_grpo(REWARDS, WHERE)), exact(slow_novelty(SCORE, WHERE))
  expected = slow_sharpen(advantage, novelty, lam, kappa)
  assert (expected > advantage).any() and (
    expected[advantage > 0] == advantage[advantage > 0]
  ).any()
  actual = run(
    lambda a, n: advantages.sharpen(a, n, lam=lam, kappa=kappa), dtype, advantage, novelty
  )
  assert_close(actual, expected, tolerance)


def test_sharpening_leaves_solved_groups_wrong_and_likely_answers_alone():
  advantage = jnp.array([0.0, -1.0, 1.0, 1.0])
  novelty = jnp.array([0.1, 0.1, 1.5, 0.1])
  np.testing.assert_allclose(
    advantages.sharpen(advantage, novelty, lam=0.5), [0.0, -1.0, 1.0, 1.45], rtol=1e-6
  )


@both_precisions
def test_a_bounded_bonus_equals_a_loop(dtype, tolerance):
  advantage, bonus = exact(RNG.normal(size=(2, 60)))
  advantage[:3] = 0.0
  expected = np.array(
    [a + min(max(b, 0.0), 0.5 * abs(a)) for a, b in zip(advantage, bonus, strict=True)]
  )
  actual = run(lambda a, b: advantages.bounded_bonus(a, b, limit=0.5), dtype, advantage, bonus)
  assert_close(actual, expected, tolerance)
  assert (actual >= advantage).all() and (np.sign(actual) == np.sign(advantage)).all()


@both_precisions
@pytest.mark.parametrize('share', [0.2, 0.5, 1.0])
def test_confidence_equals_a_loop(dtype, tolerance, share):
  shape = (4, 3, 25)
  logp, mask = exact(-RNG.exponential(1.0, shape)), random_mask(RNG, shape)
  expected = slow_confidence(logp, mask, share)
  dirty = np.where(mask > 0, logp, np.nan)
  actual = run(lambda x, m: advantages.confidence(x, m, share=share), dtype, dirty, mask)
  assert_close(actual, expected, tolerance)
  assert actual[0, 1] == 0  # no token


def test_a_fifth_of_the_tokens_is_rounded_up():
  length, place = np.arange(1, 401)[:, None], np.arange(400)[None]
  count, mask = -(-length // 5), jnp.float32(place < length)
  exactly = advantages.confidence(jnp.where(place < count, -3.0, -1.0), mask)
  np.testing.assert_allclose(exactly, np.exp(-3.0), rtol=1e-4)
  fewer = advantages.confidence(jnp.where(place < count - 1, -3.0, -1.0), mask)
  assert (fewer > exactly * (1 + 1e-3)).all()


@both_precisions
def test_progrpo_equals_a_loop(dtype, tolerance):
  prompt = exact(np.repeat(RNG.random((SHAPE[0], 1)), SHAPE[1], axis=1))
  answer = exact(RNG.random(SHAPE))
  expected = slow_grpo(REWARDS, WHERE)
  for p, members in groups(WHERE):
    if any(REWARDS[p, g] != 0 for g in members):
      for g in members:
        expected[p, g] += 0.7 * (prompt[p, g] - answer[p, g])
  dirty = np.where(WHERE > 0, answer, np.nan)
  actual = run(
    lambda r, q, o, w: advantages.progrpo(r, q, o, w, alpha=0.7),
    dtype,
    REWARDS,
    prompt,
    dirty,
    WHERE,
  )
  assert_close(actual, expected, tolerance, each=False)
  assert (actual[3] == 0).all() and (actual[4][WHERE[4] > 0] != 0).all()


def test_progrpo_shifts_wrong_members_of_mixed_groups_and_solved_groups():
  rewards = jnp.array([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
  prompt, answer = jnp.full((3, 2), 0.5), jnp.array([[0.25, 0.75]] * 3)
  found = advantages.progrpo(rewards, prompt, answer, alpha=2.0)
  half = np.sqrt(0.5)
  np.testing.assert_allclose(found, [[half + 0.5, -half - 0.5], [0.5, -0.5], [0.0, 0.0]], rtol=1e-5)
