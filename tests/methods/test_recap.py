"""RECAP: several methods with weights that follow their losses."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from harness import T, as_batch, loss_and_gradient, problem
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rljax import aggregation, methods, training
from rljax.types import Method, Scores, Term

INNER = {'reasoning': methods.grpo(), 'perception': methods.reinforce()}


def start():
  batches, scores = {}, {}
  for k, name in enumerate(INNER):
    logp, batches[name] = as_batch(problem(k, [4, 4], keep=True), 'groups')
    scores[name] = Scores(logp)
  return scores, batches


def slow_weights(losses, window, temperature):
  """`losses [steps, K]`; 1 until two windows are full."""
  if len(losses) < 2 * window:
    return [1.0] * len(losses[0])
  scores = []
  for column in zip(*losses, strict=True):
    new, old = column[-window:], column[-2 * window : -window]
    mean, before = sum(new) / window, sum(old) / window
    spread = math.sqrt(sum((x - mean) ** 2 for x in new) / window)
    scores.append((mean / before + spread / (mean + before)) / temperature)
  total = sum(math.exp(s) for s in scores)
  return [len(scores) * math.exp(s) / total for s in scores]


def test_the_loss_is_the_mean_of_the_weighted_losses_at_every_step():
  window, temperature = 2, 0.5
  method = methods.together_by_recap(window=window, temperature=temperature, **INNER)
  rng = np.random.default_rng(0)
  state, losses = method.init(), []

  @jax.jit
  def step(state, scores, batches):
    state, batches = method.prepare(state, batches)
    weights = training.weigh(method, batches)
    loss = jax.value_and_grad(lambda s: training.total(method, s, batches, weights)[0])(scores)
    return state, loss

  alone = jax.jit(lambda name, s, b: loss_and_gradient(INNER[name], s, b), static_argnums=0)
  seen = []
  for _ in range(6):
    scores, batches = start()
    batches = {
      n: b.replace(rewards=jnp.asarray(rng.uniform(0, 1, b.rewards.shape), jnp.float32))
      for n, b in batches.items()
    }
    losses.append([1 - float(np.mean(batches[n].rewards)) for n in INNER])
    shares = slow_weights(losses, window, temperature)
    state, (loss, gradient) = step(state, scores, batches)
    parts = {n: alone(n, scores[n], batches[n]) for n in INNER}
    expected = sum(w / 2 * float(parts[n][0][0]) for w, n in zip(shares, INNER, strict=True))
    size = sum(abs(float(parts[n][0][0])) for n in INNER)
    assert abs(float(loss) - expected) <= 1e-5 * size
    for w, n in zip(shares, INNER, strict=True):
      slope = w / 2 * np.asarray(parts[n][1].logp)
      assert np.abs(slope).max() > 1e-3
      np.testing.assert_allclose(
        gradient[n].logp, slope, rtol=2e-5, atol=1e-6 * np.abs(slope).max()
      )
    seen.append(shares)
  assert seen[2] == [1.0, 1.0] and abs(seen[3][0] - 1) > 1e-3


def test_metrics_stay_metrics_and_names_are_those_of_together():
  method = methods.together_by_recap(window=1, **INNER)
  assert set(method.terms) == set(methods.together(**INNER).terms)
  assert method.terms['reasoning_clip_fraction'].coef == 0 and method.measure is None


def test_what_is_watched_may_be_anything():
  method = methods.together_by_recap(window=1, loss=lambda b: jnp.mean(b.mask), **INNER)
  _, batches = start()
  state, _ = method.prepare(method.init(), batches)
  expected = [float(b.mask.mean()) for b in batches.values()]
  np.testing.assert_allclose(state['recap']['losses'][:, -1], expected, rtol=1e-6)


def test_a_method_with_state_measure_and_coefficient_keeps_them():
  def measure(state, scores, batch):
    mean = jnp.mean(scores.logp)
    return state + 1, batch.replace(constants={**batch.constants, 'mean': mean})

  steered = Method(
    lambda: jnp.zeros(()),
    lambda state, batch: (state, batch),
    {'x': Term(lambda s, b: s.logp, aggregation.token_mean, lambda b: b.constants['mean'])},
    measure,
  )
  method = methods.together_by_recap(window=1, a=steered, b=methods.reinforce())
  (sa, sb), (ba, bb) = (list(x.values()) for x in start())
  scores, batches = {'a': sa, 'b': sb}, {'a': ba, 'b': bb}
  state, batches = method.prepare(method.init(), batches)
  state, batches = method.measure(state, scores, batches)
  assert state['a'] == 1 and set(state) == {'recap', 'a', 'b'}
  loss, terms = training.total(method, scores, batches, training.weigh(method, batches))
  expected = (float(sa.logp.mean()) * float(terms['a_x']) + float(terms['b_policy'])) / 2
  assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('inner', [{}, {'recap': methods.grpo()}])
def test_names_that_cannot_be_are_refused(inner):
  with pytest.raises(ValueError, match="by names other than 'recap'"):
    methods.together_by_recap(window=2, **inner)


NAMED = methods.recap(window=2)


@jax.jit
def of_named(scores, batches):
  return loss_and_gradient(NAMED, scores, batches)


def named(seed=0):
  scores, batches = {}, {}
  for k, name in enumerate(('rollouts', 'replayed')):
    logp, batches[name] = as_batch(problem(seed + 7 * k, [4, 4], keep=True), 'groups')
    scores[name] = Scores(logp)
  return scores, batches


def test_by_name_it_is_grpo_on_two_batches():
  assert NAMED.needs == ('replayed',)
  scores, batches = named()
  (loss, _), gradient = of_named(scores, batches)
  parts = {n: loss_and_gradient(methods.grpo(), scores[n], batches[n]) for n in scores}
  np.testing.assert_allclose(loss, sum(p[0][0] for p in parts.values()) / 2, rtol=1e-5)
  for name, (_, slope) in parts.items():
    assert np.abs(slope.logp).max() > 1e-3
    np.testing.assert_allclose(gradient[name].logp, slope.logp / 2, rtol=2e-5, atol=1e-7)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
  mask=hnp.arrays(np.float32, (2, 2, 4, T), elements=st.sampled_from([0.0, 1.0])),
  keep=hnp.arrays(np.float32, (2, 2, 4), elements=st.sampled_from([0.0, 1.0])),
  rewards=hnp.arrays(np.float32, (2, 2, 4), elements=st.sampled_from([0.0, 1.0, 0.5])),
  log_ratio=hnp.arrays(np.float32, (2, 2, 4, T), elements=st.floats(-25, 24, width=32)),
)
def test_loss_and_gradient_are_finite_and_dead_tokens_have_none(mask, keep, rewards, log_ratio):
  scores, batches = named()
  for k, name in enumerate(batches):
    logp = scores[name].logp
    hole = mask[k] == 0
    batches[name] = batches[name].replace(
      mask=jnp.asarray(mask[k]),
      keep=jnp.asarray(keep[k]),
      rewards=jnp.asarray(rewards[k]),
      old_logp=jnp.where(hole, jnp.nan, logp - log_ratio[k]),
    )
  (loss, terms), gradient = of_named(scores, batches)
  assert np.isfinite(loss) and all(np.isfinite(x) for x in terms.values())
  for k, name in enumerate(batches):
    slope = np.asarray(gradient[name].logp)
    assert np.isfinite(slope).all() and (slope[(mask[k] * keep[k][..., None]) == 0] == 0).all()


def test_order_and_padding_change_nothing():
  scores, batches = named(3)
  (loss, _), gradient = of_named(scores, batches)
  order = (np.array([1, 0])[:, None], np.array([[2, 0, 3, 1], [1, 3, 0, 2]]))

  def moved(x):
    x = x[order]
    return jnp.pad(x, [(0, 0), (0, 0), (0, 2)]) if x.ndim == 3 else x

  (found, _), slopes = of_named(*jax.tree.map(moved, (scores, batches)))
  np.testing.assert_allclose(found, loss, rtol=1e-5, atol=1e-6)
  for name in gradient:
    wanted = np.asarray(moved(gradient[name].logp))
    assert np.abs(wanted).max() > 1e-3
    np.testing.assert_allclose(slopes[name].logp, wanted, rtol=2e-5, atol=1e-7)
