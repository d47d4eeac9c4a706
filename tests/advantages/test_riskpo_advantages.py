"""RiskPO: bundles, quantiles that are tracked, and the risk of a score."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from parity import assert_close, both_precisions, exact, run

from rljax import advantages

RNG = np.random.default_rng(11)
P, G = 7, 4
BUNDLE = np.array([0, 0, 4, 4, 4, 6, 0])
WHERE = np.ones((P, G))
WHERE[3, 3] = 0.0  # a bundle whose last score is incomplete
REWARDS = exact((RNG.random((P, G)) < 0.5) + 0.1 * RNG.random((P, G)))
REWARDS[1] = exact(0.1)
LOW, HIGH = exact(0.9), exact(1.7)


def slow_bundles(rewards):
  """{bundle: (its prompts, {j: score})}."""
  found = {}
  for b in sorted(set(BUNDLE.tolist())):
    prompts = [p for p in range(P) if BUNDLE[p] == b and WHERE[p].any()]
    complete = [j for j in range(G) if all(WHERE[p, j] for p in prompts)]
    found[b] = prompts, {j: sum(rewards[p, j] for p in prompts) for j in complete}
  return found


def as_table(found):
  scores, exist = np.zeros((P, G)), np.zeros((P, G))
  for b, (_, by_place) in found.items():
    for j, z in by_place.items():
      scores[b, j], exist[b, j] = z, 1.0
  return scores, exist


def slow_risk(z, values, kind, alpha=0.2, beta=0.8, omega=0.5, eps=1e-6):
  tail = -max(LOW - z, 0.0)
  body = max(z - LOW, 0.0) - max(z - HIGH, 0.0)
  if kind != 'risk_two_signed':
    body += LOW - HIGH
  if kind == 'risk_paper':
    return (1 + omega) * tail + body
  mixed = (1 + omega) * tail / (alpha + eps) + body / (beta - alpha + eps)
  deviation = 1.0
  if len(values) > 1:
    mean = sum(values) / len(values)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
  return mixed / (2 + omega) / (deviation + eps)


@both_precisions
def test_bundle_scores_equal_a_loop(dtype, tolerance):
  rewards = np.where(WHERE > 0, REWARDS, np.nan)
  scores, exist = as_table(slow_bundles(REWARDS))
  fn = advantages.bundle_scores
  assert exist[4].sum() == 3 and exist[1].sum() == 0
  assert_close(run(lambda *a: fn(*a)[0], dtype, rewards, BUNDLE, WHERE), scores, tolerance)
  assert_close(run(lambda *a: fn(*a)[1], dtype, rewards, BUNDLE, WHERE), exist, tolerance)


@both_precisions
@pytest.mark.parametrize('kind', ['risk', 'risk_two_signed', 'risk_paper'])
def test_risk_equals_a_loop(dtype, tolerance, kind):
  found = slow_bundles(REWARDS)
  scores, exist = as_table(found)
  expected = np.zeros((P, G))
  for b, (_, by_place) in found.items():
    for j, z in by_place.items():
      expected[b, j] = slow_risk(z, list(by_place.values()), kind)
  fn, spoilt = getattr(advantages, kind), np.where(exist > 0, scores, np.nan)
  assert_close(run(fn, dtype, spoilt, LOW, HIGH, exist), expected, tolerance, each=False)
  assert expected.max() > 0.1 if kind == 'risk_two_signed' else expected.max() <= 0


def slow_credit(advantage, kind):
  out = np.zeros((P, G))
  for p in range(P):
    values = [REWARDS[p, j] for j in range(G) if WHERE[p, j]]
    mean = sum(values) / len(values)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
    for j in range(G):
      if not WHERE[p, j]:
        continue
      a = advantage[BUNDLE[p], j]
      others = [q for q in range(P) if BUNDLE[q] == BUNDLE[p] and WHERE[q, j]]
      if kind == 'deviation_credit':
        a /= (deviation if deviation > 1e-3 else 1.0) + 1e-6
      if kind == 'share_credit':
        parts = []
        for q in others:
          row = [REWARDS[q, i] for i in range(G) if WHERE[q, i]]
          parts.append(REWARDS[q, j] - sum(row) / len(row))
        own = REWARDS[p, j] - mean
        a *= own / sum(parts) if abs(sum(parts)) > 1e-6 else 1 / len(others)
      out[p, j] = a
  return out


@both_precisions
@pytest.mark.parametrize('kind', ['uniform_credit', 'deviation_credit', 'share_credit'])
def test_credit_equals_a_loop(dtype, tolerance, kind):
  _, exist = as_table(slow_bundles(REWARDS))
  advantage = exact(RNG.normal(size=(P, G))) * exist
  rewards = np.where(WHERE > 0, REWARDS, np.nan)
  found = run(getattr(advantages, kind), dtype, advantage, rewards, BUNDLE, WHERE)
  assert_close(found, slow_credit(advantage, kind), tolerance, each=False)


def test_share_credit_is_even_where_nothing_tells_responses_apart():
  rewards, bundle = jnp.array([[1.0, 1.0], [0.0, 0.0]]), jnp.array([0, 0])
  found = advantages.share_credit(jnp.array([[-1.0, 3.0], [0.0, 0.0]]), rewards, bundle)
  np.testing.assert_array_equal(found, [[-0.5, 1.5], [-0.5, 1.5]])


def test_risk_is_bounded_by_its_body_between_the_quantiles_and_zero_above():
  scores = jnp.array([[0.0, 1.0, 2.0, 3.0, 4.0]])
  found = advantages.risk_paper(scores, jnp.float32(1.0), jnp.float32(3.0))
  np.testing.assert_allclose(found, [[-1.5 - 2.0, -2.0, -1.0, 0.0, 0.0]])


def test_the_tail_weighs_three_times_more_in_the_code_than_in_the_paper():
  low, high = jnp.float32(1.0), jnp.float32(2.0)
  one, other = jnp.array([[0.0, 1.0]]), jnp.array([[1.0, 2.0]])  # both deviate by the same
  for fn, expected in ((advantages.risk_paper, 1.5), (advantages.risk, 4.5)):
    tail = fn(one, low, high)[0, 0] - fn(one, low, high)[0, 1]
    body = fn(other, low, high)[0, 0] - fn(other, low, high)[0, 1]
    np.testing.assert_allclose(tail / body, expected, rtol=1e-4)


def test_equal_scores_at_equal_quantiles_give_zero_and_a_single_score_has_deviation_one():
  two = jnp.float32(2.0)
  np.testing.assert_array_equal(advantages.risk(jnp.full((1, 3), 2.0), two, two), 0.0)
  single = advantages.risk(jnp.array([[1.0]]), two, jnp.float32(3.0), eps=0.0)
  np.testing.assert_allclose(single, (-1.5 / 0.2 - 1.0 / 0.6) / 2.5, rtol=1e-6)


@both_precisions
def test_quantiles_of_some_samples_equal_numpy(dtype, tolerance):
  levels = (0.05, 0.2, 0.5, 0.8, 0.95)
  samples = exact(RNG.normal(size=(3, 5)))
  where = (RNG.random((3, 5)) < 0.7).astype(float)
  expected = np.quantile(samples[where > 0], levels)
  spoilt = np.where(where > 0, samples, np.nan)
  found = run(lambda x, w: advantages.empirical_quantiles(x, levels, w), dtype, spoilt, where)
  assert_close(found, expected, tolerance, each=False)


def test_quantiles_of_nothing_are_zero():
  found = advantages.empirical_quantiles(jnp.full((2, 2), jnp.nan), (0.5,), jnp.zeros((2, 2)))
  np.testing.assert_array_equal(found, 0.0)


def test_tracked_quantiles_equal_a_loop_over_batches():
  levels, rate = (0.2, 0.8), 0.1
  state = advantages.quantiles_init(levels)
  expected = None
  for step in range(4):
    samples = np.float32(RNG.integers(0, 6, (3, 4)))
    where = (RNG.random((3, 4)) < 0.8).astype(np.float32)
    values = samples[where > 0]
    state, used = advantages.quantiles_update(
      state, jnp.asarray(samples), jnp.asarray(where), levels=levels, rate=rate
    )
    if step == 0:
      expected = np.quantile(values, levels)
      np.testing.assert_allclose(used, expected, rtol=1e-6)
    else:
      np.testing.assert_allclose(used, expected, rtol=1e-5)
      moved = [
        q + rate * (s - np.mean(values < np.float32(q)))
        for q, s in zip(expected, levels, strict=True)
      ]
      expected = np.array(moved)
    np.testing.assert_allclose(state.quantiles, expected, rtol=1e-5)


def test_a_batch_without_scores_leaves_the_quantiles_alone():
  levels = (0.2, 0.8)
  state = advantages.quantiles_init(levels)
  nothing = jnp.zeros((2, 2))
  state, _ = advantages.quantiles_update(state, nothing, nothing, levels=levels)
  assert not bool(state.started)
  started, _ = advantages.quantiles_update(state, jnp.array([[1.0, 2.0]]), levels=levels)
  after, _ = advantages.quantiles_update(started, nothing, nothing, levels=levels)
  np.testing.assert_array_equal(after.quantiles, started.quantiles)
