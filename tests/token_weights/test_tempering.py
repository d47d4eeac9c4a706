"""Temperatures by entropy, alone and in the sampler's rule."""

import jax
import jax.numpy as jnp
import numpy as np

from rljax import sampling, token_weights
from rljax.sampling.law import law

RNG = np.random.default_rng(0)
LOGITS = jnp.float32(RNG.normal(0, 2, (4, 6))).at[1, 2].set(-jnp.inf)


def statistics(distance=2.0):
  return token_weights.EntropyStatistics(*map(jnp.float32, (-0.2, 0.6, distance, distance)))


def slow_tempered(row, known, tau):
  p = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
  entropy = -sum(x * np.log(x) for x in p if x > 0)
  h = (np.log(max(entropy, 1e-6)) - float(known.quantile)) / (float(known.std) + 1e-6)
  h /= float(known.above if h > 0 else known.below)
  return row / (1 + tau * max(-1, min(1, h)))


def test_logits_are_divided_by_the_temperature_of_their_own_entropy():
  found = token_weights.tempered_by_entropy(LOGITS, statistics(), tau=0.3)
  expected = [slow_tempered(np.float64(row), statistics(), 0.3) for row in LOGITS]
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  assert np.abs(np.asarray(found[0] / LOGITS[0]) - 1).max() > 0.01


def test_one_compiled_rule_draws_from_the_tempered_distribution_of_every_batch():
  traces = []

  def tempered(state, logits):
    return token_weights.tempered_by_entropy(logits, state, tau=0.3)

  @jax.jit
  def draw(known, keys, logits):
    traces.append(None)
    rule = law(0, lambda x: x, sampling.given(known, tempered))
    state = rule.start(len(logits))
    token, logp, _, state = rule.draw(keys, logits, state)
    return token, logp, state

  keys = jax.random.split(jax.random.key(0), len(LOGITS))
  for known in (statistics(), statistics(1.1), token_weights.no_entropy_statistics()):
    token, logp, state = draw(known, keys, LOGITS)
    expected = jax.nn.log_softmax(token_weights.tempered_by_entropy(LOGITS, known, tau=0.3))
    np.testing.assert_allclose(logp, expected[jnp.arange(4), token], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(state.std, jnp.full(4, known.std))
  assert len(traces) == 1


def test_before_the_first_batch_logits_are_as_they_were():
  found = token_weights.tempered_by_entropy(LOGITS, token_weights.no_entropy_statistics())
  np.testing.assert_array_equal(found, LOGITS)
