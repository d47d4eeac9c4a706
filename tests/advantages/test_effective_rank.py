"""VERL: effective rank, its dynamics along a completion, and the bonus with its running means."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import assert_close, both_precisions, exact, random_mask, run

from rljax import advantages

RNG = np.random.default_rng(0)


def slow_rank(rows):
  if len(rows) < 2:
    return 0.0
  values = np.linalg.svd(rows - rows.mean(0), compute_uv=False)
  p = [s / (sum(values) + 1e-8) for s in values]
  return math.exp(-sum(q * math.log(q + 1e-8) for q in p))


def slow_dynamics(rows, stride, window):
  last = rows[-window:] if len(rows) > window else rows
  ranks, changes = [], []
  for t in range(stride, len(last), stride):
    ranks.append(slow_rank(last[: t + 1]))
    if len(ranks) > 1:
      changes.append(ranks[-1] - sum(ranks[:-1]) / (len(ranks) - 1))
  second = [b - a for a, b in itertools.pairwise(changes)]
  mean = lambda x: sum(x) / len(x) if x else 0.0  # noqa: E731
  return np.array([slow_rank(rows), mean(changes), mean(second)])


@both_precisions
@pytest.mark.parametrize('width', [3, 12])
def test_effective_rank_equals_a_loop(dtype, tolerance, width):
  hidden, where = exact(RNG.normal(size=(5, 8, width)) + 3.0), random_mask(RNG, (5, 8))
  expected = np.array([slow_rank(h[w > 0]) for h, w in zip(hidden, where, strict=True)])
  dirty = np.where(where[..., None] > 0, hidden, np.nan)
  assert_close(run(advantages.effective_rank, dtype, dirty, where), expected, tolerance)
  assert expected[1] == expected[2] == 0  # no row, one row
  full = np.array([slow_rank(h) for h in hidden])
  assert_close(run(advantages.effective_rank, dtype, hidden), full, tolerance)


def test_equal_rows_have_rank_1_and_a_line_has_too():
  assert advantages.effective_rank(jnp.full((7, 3), 0.1)) == 1
  line = jnp.arange(5.0)[:, None] * jnp.array([[1.0, 2.0, 3.0]])
  np.testing.assert_allclose(advantages.effective_rank(line), 1.0, rtol=1e-4)


@both_precisions
@pytest.mark.parametrize('width', [3, 40])  # fewer and more than tokens in the window
def test_rank_dynamics_equal_a_loop(dtype, tolerance, width):
  lengths = [0, 1, 5, 8, 9, 12, 13, 19, 20, 30]
  hidden = exact(RNG.normal(size=(len(lengths), 30, width)).cumsum(1))
  where = np.zeros((len(lengths), 30))
  for row, length in zip(where, lengths, strict=True):
    row[RNG.permutation(30)[:length]] = 1.0
  dirty = np.where(where[..., None] > 0, hidden, np.nan)

  def each(hidden, where):
    return jax.lax.map(lambda x: advantages.rank_dynamics(*x, stride=4, window=20), (hidden, where))

  for i, actual in enumerate(run(each, dtype, dirty, where)):
    expected = slow_dynamics(hidden[i][where[i] > 0], stride=4, window=20)
    assert_close(actual, expected, tolerance, each=False)  # the others are differences of ranks
    assert (actual[1] != 0) == (lengths[i] > 8) and (actual[2] != 0) == (lengths[i] > 12)


def test_the_defaults_are_a_stride_of_40_and_a_window_of_512():
  hidden = exact(RNG.normal(size=(130, 5)).cumsum(0))
  expected = slow_dynamics(hidden, 40, 512)
  assert np.abs(expected).min() > 1e-3
  actual = run(advantages.rank_dynamics, 'float64', hidden)
  assert_close(actual, expected, 1e-9)


def test_completions_one_by_one_and_together_agree_and_no_gradient_flows():
  hidden = jnp.float32(RNG.normal(size=(3, 15, 4)).cumsum(1))
  where = jnp.ones((3, 15)).at[1, 9:].set(0.0)
  fn = lambda x: advantages.rank_dynamics(*x, stride=3)  # noqa: E731
  one_by_one = jax.lax.map(fn, (hidden, where))
  assert one_by_one.shape == (3, 3)
  together = jax.jit(jax.vmap(fn))((hidden, where))
  np.testing.assert_allclose(together, one_by_one, rtol=1e-4, atol=1e-5)
  slope = jax.jit(jax.grad(lambda h: fn((h, where[0])).sum()))(hidden[0])
  np.testing.assert_array_equal(slope, 0.0)


def slow_bonus(dynamics, means, gain, scale):
  d = [min(max((x - m) / (abs(m) + 1e-8), -5.0), 5.0) for x, m in zip(dynamics, means, strict=True)]
  w = 1 / (1 + math.exp(-gain * d[2]))
  return scale * (w * math.tanh(d[0]) + (1 - w) * math.tanh(d[1]))


@both_precisions
@pytest.mark.parametrize(('gain', 'scale'), [(2.0, 1.0), (0.5, 0.3)])
def test_the_rank_bonus_equals_a_loop(dtype, tolerance, gain, scale):
  dynamics = exact(RNG.normal(size=(4, 6, 3)) * [5.0, 1.0, 0.3] + [20.0, 0.5, 0.0])
  means = exact([18.0, 0.4, -0.05])
  expected = np.array([[slow_bonus(x, means, gain, scale) for x in row] for row in dynamics])
  actual = run(
    lambda d, m: advantages.rank_bonus(d, m, gain=gain, scale=scale), dtype, dynamics, means
  )
  assert_close(actual, expected, tolerance, each=False)


def test_with_means_of_0_the_bonus_is_saturated():
  dynamics = jnp.array([[20.0, 0.5, 0.1], [20.0, -0.5, -0.1]])
  found = advantages.rank_bonus(dynamics, jnp.zeros(3))
  expected = [slow_bonus(x, np.zeros(3), 2.0, 1.0) for x in np.asarray(dynamics)]
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  np.testing.assert_allclose(found, [math.tanh(5), -math.tanh(5)], rtol=1e-3)


def test_running_means_lag_by_a_step_and_skip_what_does_not_count():
  state = advantages.init_rank_means()
  batches = RNG.normal(size=(4, 2, 3, 3))
  where = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
  mu, previous = np.zeros(3), None
  for batch in batches:
    np.testing.assert_allclose(state.means, mu, rtol=1e-5, atol=1e-6)
    assert float(state.seen) == (previous is not None)
    if previous is not None:
      mu = 0.7 * mu + 0.3 * previous
    previous = batch[where > 0].mean(0)
    dirty = jnp.float32(np.where(where[..., None] > 0, batch, np.nan))
    state = advantages.update_rank_means(state, dirty, jnp.asarray(where))
    unchanged = advantages.update_rank_means(state, dirty, jnp.zeros((2, 3)))
    jax.tree.map(np.testing.assert_array_equal, unchanged, state)
  np.testing.assert_allclose(state.previous, previous, rtol=1e-5)
  assert np.abs(mu).max() > 0.05
