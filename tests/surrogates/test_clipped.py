import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import assert_close, both_precisions, exact, run

from rljax import ratios, surrogates

RNG = np.random.default_rng(0)
SHAPE = (4, 60)
# Half of the log-ratios near the clip range, half from -25 to 24.
LOG_RATIO = np.concatenate([RNG.normal(0, 0.4, (4, 30)), RNG.uniform(-25, 24, (4, 30))], axis=1)
LOGP = exact(-RNG.exponential(2.0, SHAPE))
OLD = exact(LOGP - LOG_RATIO)
ADV = exact(RNG.normal(size=SHAPE))
ADV[:, ::7] = 0.0
LOW, HIGH, CAP = 0.25, 0.375, 3.0


def slow_loss(r, a, low, high, cap):
  loss = max(-a * r, -a * min(max(r, 1 - low), 1 + high))
  return min(loss, -a * cap) if a < 0 and cap else loss


def slow_cut(r, a, low, high, cap):
  return (a > 0 and r > 1 + high) or (a < 0 and r < 1 - low) or bool(cap and a < 0 and r > cap)


def slow(fn, cap, low=LOW, high=HIGH):
  out = np.zeros(SHAPE)
  low, high = np.broadcast_to(low, SHAPE), np.broadcast_to(high, SHAPE)
  for i in np.ndindex(SHAPE):
    r = np.exp(np.clip(LOGP[i] - OLD[i], -20, 20))
    out[i] = fn(r, ADV[i], low[i], high[i], cap)
  return out


def plain(logp, old, adv):
  return surrogates.clipped(ratios.token(logp, old), adv, LOW, HIGH)


def dual(logp, old, adv):
  return surrogates.dual_clipped(ratios.token(logp, old), adv, LOW, HIGH, CAP)


@both_precisions
@pytest.mark.parametrize(('fn', 'cap'), [(plain, None), (dual, CAP)])
def test_losses_equal_a_loop(dtype, tolerance, fn, cap):
  assert_close(run(fn, dtype, LOGP, OLD, ADV), slow(slow_loss, cap), tolerance)


@both_precisions
@pytest.mark.parametrize(('fn', 'cap'), [(plain, None), (dual, CAP)])
def test_gradients_are_in_closed_form(dtype, tolerance, fn, cap):
  gradient = run(jax.grad(lambda x, old, a: fn(x, old, a).sum()), dtype, LOGP, OLD, ADV)
  d = LOGP - OLD
  through = (slow(slow_cut, cap) == 0) & (np.abs(d) <= 20)
  expected = np.where(through, -ADV * np.exp(np.clip(d, -20, 20)), 0.0)
  assert_close(gradient, expected, tolerance)
  assert 0 < np.mean(expected != 0) < 1


@both_precisions
def test_clip_fraction_marks_what_the_clip_holds(dtype, tolerance):
  def cut(logp, old, adv):
    return surrogates.clip_fraction(ratios.token(logp, old), adv, LOW, HIGH)

  expected = slow(slow_cut, None)
  assert_close(run(cut, dtype, LOGP, OLD, ADV), expected, tolerance)
  assert 0 < expected.mean() < 1


@both_precisions
def test_bounds_may_differ_per_token(dtype, tolerance):
  low, high = exact(RNG.uniform(0.1, 0.5, SHAPE)), exact(RNG.uniform(0.1, 0.5, (SHAPE[0], 1)))

  def fn(logp, old, adv, low, high):
    return surrogates.clipped(ratios.token(logp, old), adv, low, high)

  actual = run(fn, dtype, LOGP, OLD, ADV, low, high)
  assert_close(actual, slow(slow_loss, None, low, high), tolerance)


@both_precisions
def test_bounds_per_token_hold_in_gradient_fraction_and_dual_clip(dtype, tolerance):
  low, high = exact(RNG.uniform(0.1, 0.5, SHAPE)), exact(RNG.uniform(0.1, 0.5, (SHAPE[0], 1)))
  args, inside = (LOGP, OLD, ADV, low, high), np.abs(LOGP - OLD) <= 20
  for fn, cap in ((surrogates.clipped, None), (surrogates.dual_clipped, CAP)):

    def loss(logp, old, adv, low, high, fn=fn):
      return fn(ratios.token(logp, old), adv, low, high)

    assert_close(run(loss, dtype, *args), slow(slow_loss, cap, low, high), tolerance)
    cut = slow(slow_cut, cap, low, high)
    expected = np.where((cut == 0) & inside, -ADV * np.exp(np.clip(LOGP - OLD, -20, 20)), 0.0)
    gradient = run(jax.grad(lambda *x, loss=loss: loss(*x).sum()), dtype, *args)
    assert_close(gradient, expected, tolerance)
    assert 0 < cut.mean() < 1
  fraction = run(
    lambda logp, old, *rest: surrogates.clip_fraction(ratios.token(logp, old), *rest), dtype, *args
  )
  assert_close(fraction, slow(slow_cut, None, low, high), tolerance)


@pytest.mark.parametrize('delta', [1.5, 4.0])
def test_two_sided_clipping_is_dual_clipping(delta):
  found = run(
    lambda logp, old, adv: surrogates.dual_clipped(ratios.token(logp, old), adv, LOW, HIGH, delta),
    'float64',
    *(LOGP, OLD, ADV),
  )

  def two_sided(r, a, low, high, delta):
    return max(-a * min(r, delta), -a * min(max(r, 1 - low), 1 + high))

  assert_close(found, slow(two_sided, delta), 1e-12)


def losses(logp, advantages, low=0.2, high=0.2):
  ratio = ratios.token(logp)
  return (
    surrogates.clipped(ratio, advantages, low, high),
    surrogates.dual_clipped(ratio, advantages, low, high),
    surrogates.reinforce(logp, advantages),
  )


@pytest.mark.parametrize('bound', [0.2, 0.0])
@pytest.mark.parametrize('which', [0, 1, 2])
def test_on_policy_every_gradient_is_minus_the_advantage(which, bound):
  logp, adv = jnp.full((1, 3), -1.5), jnp.array([[2.0, 0.0, -3.0]])
  if which < 2:
    np.testing.assert_array_equal(losses(logp, adv)[which], -adv)
  gradient = jax.grad(lambda x: losses(x, adv, bound, bound)[which].sum())(logp)
  np.testing.assert_array_equal(gradient, -adv)


@pytest.mark.parametrize('which', [0, 1, 2])
def test_advantages_are_constants(which):
  logp = jnp.full((1, 3), -1.5)
  gradient = jax.grad(lambda a: losses(logp, a)[which].sum())(jnp.array([[2.0, 0.0, -3.0]]))
  np.testing.assert_array_equal(gradient, 0.0)


def test_no_advantage_no_loss_and_no_gradient_at_any_ratio():
  ratio, zero = jnp.exp(jnp.linspace(-20.0, 20.0, 9))[None, :], jnp.zeros((1, 9))
  for fn in (surrogates.clipped, surrogates.dual_clipped):
    np.testing.assert_array_equal(fn(ratio, zero), 0.0)
    np.testing.assert_array_equal(jax.grad(lambda r, fn=fn: fn(r, zero).sum())(ratio), 0.0)
  np.testing.assert_array_equal(surrogates.clip_fraction(ratio, zero), 0.0)


def test_a_ratio_per_sequence_meets_an_advantage_per_sequence():
  loss = surrogates.clipped(jnp.array([[1.5], [1.1]]), jnp.array([[1.0], [1.0]]))
  np.testing.assert_allclose(loss, [[-1.2], [-1.1]], rtol=1e-6)


@pytest.mark.parametrize('cap', [1.0, 0.5, -3.0])
def test_a_cap_that_is_not_above_one_is_refused(cap):
  with pytest.raises(ValueError, match='above 1'):
    surrogates.dual_clipped(jnp.ones((1, 2)), jnp.ones((1, 2)), cap=cap)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.floats(0.01, 50.0), st.floats(-5.0, 5.0), st.floats(0.0, 0.9), st.floats(0.0, 2.0))
def test_clipping_is_pessimistic_and_dual_clipping_bounded(r, a, low, high):
  ratio, adv = np.full((1, 1), r), np.full((1, 1), a)
  args = (ratio, adv, np.full((1, 1), low), np.full((1, 1), high))
  loss = run(surrogates.clipped, 'float64', *args)
  capped = run(surrogates.dual_clipped, 'float64', *args)
  assert loss >= -adv * ratio - 1e-12
  assert capped <= loss + 1e-12
  assert capped <= abs(a) * 3.0 + 1e-12
