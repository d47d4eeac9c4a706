"""RECAP: several methods with weights that follow their losses."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from harness import as_batch, loss_and_gradient, problem

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
  method = methods.recap(window=window, temperature=temperature, **INNER)
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
  method = methods.recap(window=1, **INNER)
  assert set(method.terms) == set(methods.together(**INNER).terms)
  assert method.terms['reasoning_clip_fraction'].coef == 0 and method.measure is None


def test_what_is_watched_may_be_anything():
  method = methods.recap(window=1, loss=lambda b: jnp.mean(b.mask), **INNER)
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
  method = methods.recap(window=1, a=steered, b=methods.reinforce())
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
  with pytest.raises(ValueError, match="names other than 'recap'"):
    methods.recap(window=2, **inner)
