"""Advantages of ROVER, GRAO and HAPO against loops over groups and tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import assert_close, both_precisions, exact, random_mask, run

from rljax import advantages

RNG = np.random.default_rng(0)
REWARDS = exact(RNG.normal(size=(7, 5)))
REWARDS[0] = exact([0.2, 0.9, 0.2, 0.2, 0.2])  # one short answer is unlike the others
REWARDS[3] = exact(0.1)
REWARDS[4] = exact([0.1, 0.1, 0.1, 0.7, 0.1])
WHERE = random_mask(RNG, REWARDS.shape)
WHERE[4] = [1, 1, 1, 0, 1]
REFERENCE = np.zeros_like(REWARDS)
REFERENCE[:6, 4] = 1.0  # the last group has none
LENGTHS = exact(RNG.integers(0, 9, REWARDS.shape))
LENGTHS[0] = [90, 1, 90, 90, 90]


def members(p, where):
  return [g for g in range(REWARDS.shape[1]) if where[p, g]]


def slow_rover(where):
  out = np.zeros_like(REWARDS)
  for p in range(len(REWARDS)):
    r = {g: REWARDS[p, g] for g in members(p, where)}
    for g, x in r.items():
      out[p, g] = 0.0 if len(set(r.values())) == 1 else x - sum(r.values()) / len(r)
      out[p, g] = x if len(r) == 1 else out[p, g]
  return out


@both_precisions
def test_rover_rewards_equal_a_loop(dtype, tolerance):
  for where in (WHERE, np.ones_like(WHERE)):
    found = run(advantages.rover, dtype, REWARDS, where)
    assert_close(found, slow_rover(where), tolerance, each=False)


def test_a_rover_group_of_one_keeps_its_reward_and_equal_rewards_give_zero():
  np.testing.assert_array_equal(advantages.rover(jnp.array([[0.3]])), np.float32([[0.3]]))
  np.testing.assert_array_equal(advantages.rover(jnp.full((1, 3), 0.1)), 0.0)


def slow_grao(where, joint=False):
  out = np.zeros_like(REWARDS)
  for p in range(len(REWARDS)):
    everyone = members(p, where)
    measured = [REWARDS[p, g] for g in everyone if joint or not REFERENCE[p, g]]
    if len(set(measured)) < 2:
      continue
    mu = sum(measured) / len(measured)
    sigma = np.sqrt(sum((x - mu) ** 2 for x in measured) / len(measured))
    for g in everyone:
      out[p, g] = (REWARDS[p, g] - mu) / (sigma + 1e-8)
  return out


@both_precisions
@pytest.mark.parametrize('joint', [False, True])
def test_grao_equals_a_loop(dtype, tolerance, joint):
  fn = advantages.grao_joint if joint else advantages.grao
  for where in (WHERE, np.ones_like(WHERE)):
    expected = slow_grao(where, joint)
    assert np.abs(expected[:, 4]).max() > 0.1
    assert_close(run(fn, dtype, REWARDS, REFERENCE, where), expected, tolerance, each=False)


def test_grao_of_equal_samples_is_zero_for_the_reference_too():
  rewards, reference = jnp.array([[0.1, 0.1, 0.1, 1.0]]), jnp.array([[0.0, 0.0, 0.0, 1.0]])
  np.testing.assert_array_equal(advantages.grao(rewards, reference), 0.0)
  np.testing.assert_allclose(
    advantages.grao_joint(rewards, reference), [[-(3**-0.5)] * 3 + [3**0.5]], rtol=1e-6
  )


def slow_grao_objective(scores, a, where, beta, pairwise):
  """The objective of each prompt, as printed."""
  out = []
  for p in range(len(a)):
    samples = [g for g in members(p, where) if not REFERENCE[p, g]]
    answers = [g for g in members(p, where) if REFERENCE[p, g]]
    value = 0.0
    for i in samples:
      value += a[p, i] * scores[p, i] / len(samples)
      for y in answers:
        value += beta * a[p, y] * scores[p, y] / len(samples)
        value += pairwise * a[p, i] * (scores[p, i] - scores[p, y]) / len(samples)
    out.append(value)
  return np.array(out)


@both_precisions
def test_grao_weights_give_the_printed_objective(dtype, tolerance):
  a, scores = exact(RNG.normal(size=REWARDS.shape)), exact(RNG.normal(size=REWARDS.shape))
  for where in (WHERE, np.ones_like(WHERE)):
    w = run(
      lambda *x: advantages.grao_weights(*x, beta=0.3, pairwise=0.7), dtype, a, REFERENCE, where
    )
    expected = slow_grao_objective(scores, a, where, 0.3, 0.7)
    assert_close((w * scores).sum(-1), expected, tolerance, each=False)
    assert (w[where == 0] == 0).all()


def test_the_pairwise_term_of_the_printed_objective_only_scales_the_first():
  rewards = jnp.array([[1.0, 0.0, 0.0, 1.0, 1.0]])
  reference = jnp.array([[0.0, 0.0, 0.0, 0.0, 1.0]])
  a = advantages.grao(rewards, reference)
  plain = advantages.grao_weights(a, reference, pairwise=0.0)
  pair = advantages.grao_weights(a, reference, pairwise=0.6)
  np.testing.assert_allclose(pair[0, :4], 1.6 * plain[0, :4], rtol=1e-6)
  np.testing.assert_allclose(pair[0, 4], plain[0, 4], atol=1e-7)


def test_several_references_share_the_weight_of_one():
  a, reference = jnp.array([[1.0, -1.0, 2.0, 4.0]]), jnp.array([[0.0, 0.0, 1.0, 1.0]])
  found = advantages.grao_weights(a, reference, beta=0.5, pairwise=0.0)
  np.testing.assert_allclose(found, [[0.5, -0.5, 0.5, 1.0]])


def slow_hapo(where, limit=5.0):
  out, fell_back = np.zeros_like(REWARDS), 0
  for p in range(len(REWARDS)):
    tokens = [(g, REWARDS[p, g]) for g in members(p, where) for _ in range(int(LENGTHS[p, g]))]
    values = [r for _, r in tokens]
    if len(set(values)) < 2:
      continue
    mu = sum(values) / len(values)
    sd = np.sqrt(sum((r - mu) ** 2 for r in values) / len(values))
    found = {g: (r - mu) / (sd + 1e-6) for g, r in tokens}
    if max(abs(x) for x in found.values()) >= limit:
      fell_back += 1
      group = [REWARDS[p, g] for g in members(p, where)]
      mu = sum(group) / len(group)
      sd = np.sqrt(sum((r - mu) ** 2 for r in group) / (len(group) - 1))
      found = {g: (REWARDS[p, g] - mu) / (sd + 1e-6) for g in found}
    for g, x in found.items():
      out[p, g] = x
  return out, fell_back


@both_precisions
@pytest.mark.parametrize('limit', [5.0, 1.5])
def test_hapo_equals_a_loop_over_tokens(dtype, tolerance, limit):
  for where in (WHERE, np.ones_like(WHERE)):
    expected, fell_back = slow_hapo(where, limit)
    found = run(lambda *x: advantages.hapo(*x, limit=limit), dtype, REWARDS, LENGTHS, where)
    assert_close(found, expected, tolerance, each=False)
    assert 0 < fell_back < 5


def test_a_long_completion_weighs_more_in_hapo():
  found = advantages.hapo(jnp.array([[1.0, 0.0]]), jnp.array([[3.0, 1.0]]))
  np.testing.assert_allclose(found, [[3**-0.5, -(3**0.5)]], rtol=1e-5)  # mean 3/4, variance 3/16


@pytest.mark.parametrize(
  ('rewards', 'lengths'),
  [
    ([[0.1, 0.1, 0.1]], [[3.0, 2.0, 7.0]]),  # equal
    ([[0.1, 0.1, 0.9]], [[3.0, 2.0, 0.0]]),  # equal among those with tokens
    ([[0.3]], [[4.0]]),  # alone
    ([[0.3, 0.7]], [[0.0, 0.0]]),  # no tokens
  ],
)
def test_hapo_is_exactly_zero_without_spread(rewards, lengths):
  np.testing.assert_array_equal(advantages.hapo(jnp.array(rewards), jnp.array(lengths)), 0.0)


@pytest.mark.parametrize('garbage', [np.nan, np.inf])
def test_who_is_not_real_is_not_read(garbage):
  where, reference = jnp.float32(WHERE), jnp.float32(REFERENCE)
  clean, lengths = jnp.float32(REWARDS), jnp.float32(LENGTHS)
  dirty = jnp.where(where > 0, clean, garbage)
  calls = [
    lambda r: advantages.rover(r, where),
    lambda r: advantages.grao(r, reference, where),
    lambda r: advantages.grao_joint(r, reference, where),
    lambda r: advantages.grao_weights(r, reference, where),
    lambda r: advantages.hapo(r, lengths, where),
  ]
  for call in calls:
    np.testing.assert_array_equal(jax.jit(call)(dirty), jax.jit(call)(clean))
