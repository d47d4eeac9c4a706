"""Statistics of the vocabulary against loops over words."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import assert_close, both_precisions, exact, run

from rljax import training, vocabulary

RNG = np.random.default_rng(0)
LOGITS = exact(RNG.normal(0, 2, (7, 9)))
LOGITS[2, [0, 4, 5]] = -np.inf  # words that cannot be drawn
LOGITS[3] = 0.5  # all alike
LOGITS[4, 6] = 30.0  # one word has nearly all the mass
LOGITS[5, 1:] = -np.inf  # one word has all
TARGETS = np.array([3, 0, 1, 8, 6, 0, 2])


def probabilities(row):
  top = max(row)
  mass = [math.exp(x - top) for x in row]
  return [m / sum(mass) for m in mass]


def slow_mean_logp(row, target):
  del target
  logs = [math.log(p) for x, p in zip(row, probabilities(row), strict=True) if x > -math.inf]
  return sum(logs) / len(logs)


def slow_kept(row, kappa):
  p = probabilities(row)
  return [x >= kappa * max(p) and x > 0 for x in p]


def slow_proxy_logp(row, target, kappa=0.02):
  p, kept = probabilities(row), slow_kept(row, kappa)
  mass = sum(x for x, k in zip(p, kept, strict=True) if k)
  return math.log(p[target] / mass) if kept[target] else -1e4


def slow_proxy_kl(row, target, kappa=0.02):
  del target
  p, kept = probabilities(row), slow_kept(row, kappa)
  mass = sum(x for x, k in zip(p, kept, strict=True) if k)
  return sum(x / mass * math.log(x / mass / x) for x, k in zip(p, kept, strict=True) if k)


def slow_nucleus(row, target, p=0.8, top_k=10000, closed=False):
  del target
  mass, inside = 0.0, []
  for x in sorted(probabilities(row), reverse=True)[:top_k]:
    if (mass if closed else mass + x) >= p:
      break
    inside.append(x)
    mass += x
  return -sum(x / mass * math.log(x / mass) for x in inside if x > 0)


STATISTICS = {
  'mean_logp': (vocabulary.mean_logp, slow_mean_logp),
  'proxy_logp': (vocabulary.proxy_logp, slow_proxy_logp),
  'proxy_logp, kappa': (
    functools.partial(vocabulary.proxy_logp, kappa=0.3),
    functools.partial(slow_proxy_logp, kappa=0.3),
  ),
  'proxy_kl': (
    functools.partial(vocabulary.proxy_kl, kappa=0.3),
    functools.partial(slow_proxy_kl, kappa=0.3),
  ),
  'nucleus_entropy': (vocabulary.nucleus_entropy, slow_nucleus),
  'nucleus_entropy, p': (
    functools.partial(vocabulary.nucleus_entropy, p=0.95, top_k=4),
    functools.partial(slow_nucleus, p=0.95, top_k=4),
  ),
  'closed_nucleus_entropy': (
    vocabulary.closed_nucleus_entropy,
    functools.partial(slow_nucleus, closed=True),
  ),
  'closed_nucleus_entropy, p': (
    functools.partial(vocabulary.closed_nucleus_entropy, p=0.5, top_k=3),
    functools.partial(slow_nucleus, p=0.5, top_k=3, closed=True),
  ),
}


@both_precisions
@pytest.mark.parametrize('name', STATISTICS)
def test_statistics_equal_loops(name, dtype, tolerance):
  fn, slow = STATISTICS[name]
  expected = [slow(list(row), target) for row, target in zip(LOGITS, TARGETS, strict=True)]
  assert np.abs(expected).max() > 0.1
  assert_close(run(fn, dtype, LOGITS, TARGETS), expected, tolerance, each=False)


@pytest.mark.parametrize('name', STATISTICS)
def test_gradients_are_finite_also_beside_impossible_words(name):
  fn, _ = STATISTICS[name]
  gradient = jax.grad(lambda x: fn(x, jnp.asarray(TARGETS)).sum())(jnp.float32(LOGITS))
  assert np.isfinite(gradient).all()
  assert (np.asarray(gradient)[np.isneginf(LOGITS)] == 0).all()
  if name.startswith('proxy_logp'):
    np.testing.assert_array_equal(gradient, 0)  # a constant
  else:
    assert np.abs(gradient).max() > 0.01


def difference(slow, logits, targets, step=1e-6):
  """Numeric gradient of a loop; words of logit -inf are left alone."""
  found = np.zeros_like(logits)
  for i, v in np.argwhere(np.isfinite(logits)):
    ends = []
    for sign in (1, -1):
      row = logits[i].copy()
      row[v] += sign * step
      ends.append(slow(list(row), targets[i]))
    found[i, v] = (ends[0] - ends[1]) / (2 * step)
  return found


@pytest.mark.parametrize('name', ['mean_logp', 'nucleus_entropy', 'closed_nucleus_entropy, p'])
def test_gradients_equal_numeric_differences(name):
  fn, slow = STATISTICS[name]
  rows = [0, 1, 2, 4, 6]
  with jax.enable_x64(True):
    found = jax.grad(lambda x: fn(x, jnp.asarray(TARGETS[rows])).sum())(jnp.asarray(LOGITS[rows]))
  expected = difference(slow, LOGITS[rows], TARGETS[rows])
  np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


def test_the_gradient_of_the_proxy_kl_is_policy_minus_proxy():
  kappa = 0.3
  gradient = jax.grad(lambda x: vocabulary.proxy_kl(x, jnp.asarray(TARGETS), kappa=kappa).sum())(
    jnp.float32(LOGITS)
  )
  for row, slope in zip(LOGITS, gradient, strict=True):
    p, kept = np.array(probabilities(row)), np.array(slow_kept(row, kappa))
    proxy = np.where(kept, p, 0) / p[kept].sum()
    np.testing.assert_allclose(slope, p - proxy, atol=1e-6)


def test_a_filtered_target_has_proxy_logp_minus_ten_thousand():
  logits = jnp.log(jnp.array([[0.9, 0.09, 0.01]]))
  found = [float(vocabulary.proxy_logp(logits, jnp.array([i]))[0]) for i in range(3)]
  np.testing.assert_allclose(found, [np.log(0.9 / 0.99), np.log(0.09 / 0.99), -1e4], rtol=1e-5)


def test_a_top_word_with_the_whole_nucleus_leaves_no_entropy_and_no_gradient():
  logits = jnp.log(jnp.array([[0.85, 0.1, 0.05]]))
  value, gradient = jax.value_and_grad(
    lambda x: vocabulary.nucleus_entropy(x, jnp.array([0])).sum()
  )(logits)
  assert value == 0
  np.testing.assert_array_equal(gradient, 0)


def test_words_that_are_alike_share_their_place_in_the_nucleus():
  logits = jnp.log(jnp.array([[0.2, 0.4, 0.2, 0.2]]))
  value, gradient = jax.value_and_grad(
    lambda x: vocabulary.nucleus_entropy(x, jnp.array([0]), p=0.7).sum()
  )(logits)  # the word of 0.4 and one of 0.2
  np.testing.assert_allclose(value, np.log(3) - 2 / 3 * np.log(2), rtol=1e-6)
  slope = 2 / 3 * (np.log(2 / 3) + value)
  np.testing.assert_allclose(gradient[0], -slope * np.array([-1 / 3, 1, -1 / 3, -1 / 3]), rtol=1e-4)


def test_the_head_computes_them_in_chunks():
  rng = np.random.default_rng(1)
  params = jnp.float32(rng.normal(size=(5, 11)))
  x, targets = jnp.float32(rng.normal(size=(13, 5))), jnp.asarray(rng.integers(0, 11, 13))
  wanted = {
    'mean_logp': vocabulary.mean_logp,
    'proxy_logp': vocabulary.proxy_logp,
    'nucleus_entropy': vocabulary.nucleus_entropy,
  }

  def loss(params, chunk):
    found = training.head.per_token(lambda p, h: h @ p, params, x, targets, wanted, chunk=chunk)
    return sum(v.sum() for v in found.values()), found

  (_, whole), slope = jax.value_and_grad(loss, has_aux=True)(params, 13)
  (_, parts), slope_of_parts = jax.value_and_grad(loss, has_aux=True)(params, 4)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), whole, parts)
  np.testing.assert_allclose(slope, slope_of_parts, rtol=1e-4, atol=1e-5)
